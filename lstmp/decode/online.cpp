// The search of lstmp/decode/online.py: tokens over the states of the graph that are alive, frame after frame. What lies
// between two frames is kept here; the rules of pruning, and all arithmetic, are those that online.py explains.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Arc {
  int32_t from, to, label;
  float score;
};

struct Entry {  // of the history: by which arc a token came, and from which entry
  int32_t before;
  int32_t arc;
};

struct Search {
  const Arc* arcs;
  const int32_t* first;  // arcs out of state s: first[s] … first[s + 1]
  float default_beam;
  int64_t min_active, max_active;
  float beam;
  std::vector<int32_t> slot;  // token of a state in the frame to come, or -1
  std::vector<int32_t> states, new_states, entry, new_entry;
  std::vector<float> score, new_score, ends;
  std::vector<Entry> history;
  size_t collect_at = 1 << 18;

  void reset() {
    states.assign(1, 0);
    score.assign(1, 0.0f);
    entry.assign(1, -1);
    history.clear();
    beam = default_beam;
  }

  // Drop the entries from which no living token comes.
  void collect() {
    std::vector<int32_t> renumbered(history.size(), -1);
    for (int32_t e : entry)
      if (e >= 0) renumbered[e] = 0;
    for (int64_t i = static_cast<int64_t>(history.size()) - 1; i >= 0; --i)
      if (renumbered[i] == 0 && history[i].before >= 0) renumbered[history[i].before] = 0;
    int32_t kept = 0;
    for (size_t i = 0; i < history.size(); ++i) {
      if (renumbered[i] < 0) continue;
      Entry e = history[i];
      if (e.before >= 0) e.before = renumbered[e.before];
      renumbered[i] = kept;
      history[kept++] = e;
    }
    history.resize(kept);
    for (int32_t& e : entry)
      if (e >= 0) e = renumbered[e];
    collect_at = std::max<size_t>(1 << 18, 2 * history.size());
  }

  void choose_beam(bool near_end) {
    const int64_t active = states.size();
    const int64_t least = near_end ? std::max(min_active, max_active / 2) : min_active;
    if (active <= max_active) {
      if (active >= least || active == 0) {
        beam = static_cast<float>(0.8 * beam + 0.2 * default_beam);
      } else {
        if (beam < default_beam) beam = default_beam;
        beam = static_cast<float>(beam * 1.25);
      }
    } else if (!near_end) {
      if (beam > default_beam) beam = default_beam;
      beam = static_cast<float>(beam * 0.8);
    }
  }

  void advance(const float* row, bool near_end) {
    ends.clear();
    float best = kNever;
    for (size_t i = 0; i < states.size(); ++i) {
      for (int32_t a = first[states[i]]; a < first[states[i] + 1]; ++a) {
        const Arc& arc = arcs[a];
        const float acoustic = arc.label > 0 ? row[arc.label - 1] : kNever;
        const float step = acoustic + arc.score;
        const float end = score[i] + step;
        ends.push_back(end);
        best = std::max(best, end);
      }
    }
    choose_beam(near_end);
    const float cutoff = best - beam;
    new_states.clear();
    new_score.clear();
    new_entry.clear();
    size_t k = 0;
    for (size_t i = 0; i < states.size(); ++i) {
      for (int32_t a = first[states[i]]; a < first[states[i] + 1]; ++a, ++k) {
        const float end = ends[k];
        if (!(end > cutoff)) continue;
        const int32_t to = arcs[a].to;
        int32_t at = slot[to];
        if (at < 0) {
          slot[to] = at = static_cast<int32_t>(new_states.size());
          new_states.push_back(to);
          new_score.push_back(kNever);
          new_entry.push_back(static_cast<int32_t>(history.size()));
          history.push_back({-1, -1});
        }
        if (end > new_score[at]) {
          new_score[at] = end;
          history[new_entry[at]] = {entry[i], a};
        }
      }
    }
    for (int32_t s : new_states) slot[s] = -1;
    states.swap(new_states);
    score.swap(new_score);
    entry.swap(new_entry);
    if (history.size() > collect_at) collect();
  }
};

}  // namespace

extern "C" {

// `arcs` [A, 4] as in HCLG.k2.safetensors, sorted by from-state, and `first` [num_states + 1] outlive the search.
void* lstmp_online_new(const void* arcs, const int32_t* first, int64_t num_states, float beam, int64_t min_active,
                       int64_t max_active) {
  auto* s = new Search{static_cast<const Arc*>(arcs), first, beam, min_active, max_active, beam};
  s->slot.assign(num_states, -1);
  s->reset();
  return s;
}

void lstmp_online_free(void* handle) { delete static_cast<Search*>(handle); }

void lstmp_online_reset(void* handle) { static_cast<Search*>(handle)->reset(); }

// `scores` [frames, pdfs]; of them the last `near_end` are pruned less.
void lstmp_online_advance(void* handle, const float* scores, int64_t frames, int64_t pdfs, int64_t near_end) {
  auto* s = static_cast<Search*>(handle);
  for (int64_t t = 0; t < frames; ++t) s->advance(scores + t * pdfs, t >= frames - near_end);
}

// The arcs of the best path so far, last first, at most `room` of them into `path`. With `to_end`, that path ends in a
// final state, its last arc being the first of `path`. Returns their number, -1 where no path is; `score`: the path's.
int64_t lstmp_online_path(void* handle, int64_t to_end, int64_t room, int32_t* path, float* score) {
  auto* s = static_cast<Search*>(handle);
  float best = kNever;
  int32_t at = -1, last = -1;
  bool found = false;
  for (size_t i = 0; i < s->states.size(); ++i) {
    if (!to_end) {
      if (s->score[i] > best) best = s->score[i], at = s->entry[i], found = true;
      continue;
    }
    for (int32_t a = s->first[s->states[i]]; a < s->first[s->states[i] + 1]; ++a) {
      if (s->arcs[a].label >= 0) continue;
      const float end = s->score[i] + s->arcs[a].score;
      if (end > best) best = end, at = s->entry[i], last = a, found = true;
    }
  }
  if (!found) return -1;
  *score = best;
  int64_t n = 0;
  if (last >= 0 && n < room) path[n++] = last;
  for (; at >= 0 && n < room; at = s->history[at].before) path[n++] = s->history[at].arc;
  return n;
}

void lstmp_online_sizes(void* handle, int64_t* sizes) {
  auto* s = static_cast<Search*>(handle);
  sizes[0] = s->states.size();
  sizes[1] = s->history.size();
}
}
