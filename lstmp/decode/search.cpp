// The search of lstmp/decode/engine.py: tokens for the states of the graph that are alive, frame after frame. The rules of
// pruning, and all arithmetic, are those that engine.py explains. Of the past, either the best arc into each token is
// kept (for one path), or every arc between tokens that may lie on a path within the output beam (for a lattice).
#include "../guard.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "tokens.h"

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

struct Step {  // a way out of a token: along an arc to a state of the next frame; `to`, if negative, is its token - kTokens
  float end;
  int32_t to, from, arc;
};
constexpr int32_t kTokens = std::numeric_limits<int32_t>::min();

struct Link {  // of a lattice: an arc between a token of one frame and one of the next
  int32_t from, to, arc;
  float end;    // the best score of a path up to and with it
  float extra;  // how much worse than the best path of all is the best one through it
};

struct Frame {
  std::vector<float> score;  // of its tokens
  std::vector<Link> links;   // out of them, in their order
};

constexpr int64_t kPruneEvery = 30;  // frames
constexpr size_t kAhead = 12;        // tokens: so early their states' arcs are asked for, which lie anywhere in memory

struct Search {
  const Arc* arcs;
  const int32_t* first;  // arcs out of state s: first[s] … first[s + 1]
  float default_beam;
  int64_t min_active, max_active;
  float beam;
  Tokens tokens;
  std::vector<int32_t> states, new_states, entry, new_entry;
  std::vector<float> score, new_score;
  std::vector<Step> steps;  // the first num_steps of them
  size_t num_steps = 0;
  std::vector<Link> links;
  std::vector<Entry> history;
  size_t collect_at = 1 << 18;
  float output_beam = -1;  // negative: no lattice
  std::vector<Frame> frames;

  void reset() {
    states.assign(1, 0);
    score.assign(1, 0.0f);
    entry.assign(1, -1);
    history.clear();
    beam = default_beam;
    frames.clear();
  }

  bool lattice() const { return output_beam >= 0; }

  // Drop links worse than the best path by more than the output beam, and tokens without links, in the frames from
  // `begin` on. `last`: extra cost of the tokens of the frame after the last.
  void prune(size_t begin, std::vector<float> last, const std::vector<float>& last_score) {
    std::vector<float> after = std::move(last), here;
    std::vector<int32_t> renumbered(after.size()), mine;
    for (size_t i = 0; i < after.size(); ++i) renumbered[i] = static_cast<int32_t>(i);
    const std::vector<float>* after_score = &last_score;
    std::vector<float> kept_score;  // of the frame after, before its tokens were renumbered
    for (size_t t = frames.size(); t-- > begin;) {
      Frame& f = frames[t];
      here.assign(f.score.size(), std::numeric_limits<float>::infinity());
      size_t kept = 0;
      for (Link link : f.links) {
        if (renumbered[link.to] < 0) continue;
        link.extra = after[link.to] + ((*after_score)[link.to] - link.end);
        if (!(link.extra <= output_beam)) continue;
        here[link.from] = std::min(here[link.from], link.extra);
        link.to = renumbered[link.to];
        f.links[kept++] = link;
      }
      f.links.resize(kept);
      if (2 * kept < f.links.capacity()) f.links.shrink_to_fit();  // what is left for good is a small part
      mine.resize(f.score.size());
      std::vector<float> whole = f.score;
      int32_t alive = 0;
      for (size_t i = 0; i < f.score.size(); ++i) {
        const bool lives = here[i] <= output_beam || (t == begin && begin > 0);  // links into these stay as they are
        mine[i] = lives ? alive : -1;
        if (lives) f.score[alive++] = f.score[i];
      }
      f.score.resize(alive);
      if (2 * f.score.size() < f.score.capacity()) f.score.shrink_to_fit();
      for (Link& link : f.links) link.from = mine[link.from];
      kept_score.swap(whole);
      after_score = &kept_score;
      after.swap(here);
      renumbered.swap(mine);
    }
  }

  // The whole lattice, once all frames are in: a frame more, with the final state for its one token.
  bool finish_lattice() {
    Frame f;
    f.score = score;
    float best = kNever;
    for (size_t i = 0; i < states.size(); ++i)
      for (int32_t a = first[states[i]]; a < first[states[i] + 1]; ++a)
        if (arcs[a].label < 0) {
          const float end = score[i] + arcs[a].score;
          f.links.push_back({static_cast<int32_t>(i), 0, a, end, 0});
          best = std::max(best, end);
        }
    if (!(best > kNever)) return false;
    frames.push_back(std::move(f));
    prune(0, {0.0f}, {best});
    return true;
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

  // Fill `steps` with the ways out of the living tokens that may survive this frame, and return the best score. They lie
  // together, as the arcs do not: the graph is far larger than any cache, and is read once a frame. For a lattice also
  // those that may be within the output beam of one that survives, and lead to the same state.
  float expand(const float* row) {
    size_t count = 0;
    float best = kNever;
    const float reach = lattice() ? beam + output_beam : beam;
    const size_t n = states.size();
    for (size_t i = 0; i < n; ++i) {
      if (i + 2 * kAhead < n) __builtin_prefetch(&first[states[i + 2 * kAhead]]);
      if (i + kAhead < n) __builtin_prefetch(&arcs[first[states[i + kAhead]]]);
      const int32_t end_of_arcs = first[states[i] + 1];
      const size_t room = count + (end_of_arcs - first[states[i]]);
      if (steps.size() < room) steps.resize(2 * room);
      Step* out = steps.data() + count;
      for (int32_t a = first[states[i]]; a < end_of_arcs; ++a) {
        const Arc arc = arcs[a];
        const float acoustic = arc.label > 0 ? row[arc.label - 1] : kNever;
        const float end = score[i] + (acoustic + arc.score);
        if (!(end > best - reach)) continue;  // nor will it be, as the best only gets better
        best = std::max(best, end);
        *out++ = {end, arc.to, static_cast<int32_t>(i), a};
      }
      count = out - steps.data();
    }
    num_steps = count;
    return best;
  }

  // Fill `links` with the steps between living tokens; what is worse than the best into its token by more than the output
  // beam can be on no path within it.
  void link_tokens() {
    for (size_t k = 0; k < num_steps; ++k) {
      const Step& step = steps[k];
      const int32_t at = step.to < 0 ? step.to - kTokens : tokens.at(step.to);
      if (at >= 0 && new_score[at] - step.end <= output_beam) links.push_back({step.from, at, step.arc, step.end, 0});
    }
  }

  void advance(const float* row, bool near_end) {
    choose_beam(near_end);
    const float best = expand(row);
    const float cutoff = best - beam;
    new_states.clear();
    new_score.clear();
    new_entry.clear();
    links.clear();
    tokens.next_frame();
    for (size_t k = 0; k < num_steps; ++k) {
      Step& step = steps[k];
      if (!(step.end > cutoff)) continue;
      bool fresh;
      const int32_t at = tokens.find(step.to, static_cast<int32_t>(new_states.size()), &fresh);
      if (fresh) {
        new_states.push_back(step.to);
        new_score.push_back(kNever);
        if (!lattice()) {
          new_entry.push_back(static_cast<int32_t>(history.size()));
          history.push_back({-1, -1});
        }
      }
      if (lattice()) {
        new_score[at] = std::max(new_score[at], step.end);
        step.to = kTokens + at;
      } else if (step.end > new_score[at]) {
        new_score[at] = step.end;
        history[new_entry[at]] = {entry[step.from], step.arc};
      }
    }
    if (lattice()) link_tokens();
    states.swap(new_states);
    if (lattice()) frames.push_back({score, links});  // copies, which take no more room than they need
    score.swap(new_score);
    entry.swap(new_entry);
    if (history.size() > collect_at) collect();
    if (lattice() && frames.size() % kPruneEvery == 0) {  // as if the tokens of now were all as good as the best
      const size_t begin = frames.size() > 2 * kPruneEvery ? frames.size() - 2 * kPruneEvery : 0;
      prune(begin, std::vector<float>(score.size(), 0.0f), score);
    }
  }
};

}  // namespace

extern "C" {

// `arcs` [A, 4] as in HCLG.k2.safetensors, sorted by from-state, and `first` [states + 1] outlive the search. With an
// `output_beam` of 0 or more it makes a lattice.
void* lstmp_search_new(const void* arcs, const int32_t* first, float beam, int64_t min_active, int64_t max_active,
                       float output_beam) try {
  std::unique_ptr<Search> s(new Search{static_cast<const Arc*>(arcs), first, beam, min_active, max_active, beam});
  s->output_beam = output_beam;
  s->reset();
  return s.release();
} LSTMP_GUARD(nullptr)

void lstmp_search_free(void* handle) { delete static_cast<Search*>(handle); }

void lstmp_search_reset(void* handle) try {
  static_cast<Search*>(handle)->reset();
} LSTMP_GUARD()

// `scores` [frames, pdfs]; of them the last `near_end` are pruned less.
void lstmp_search_advance(void* handle, const float* scores, int64_t frames, int64_t pdfs, int64_t near_end) try {
  auto* s = static_cast<Search*>(handle);
  for (int64_t t = 0; t < frames; ++t) s->advance(scores + t * pdfs, t >= frames - near_end);
} LSTMP_GUARD()

// The arcs of the best path so far, last first, at most `room` of them into `path`. With `to_end`, that path ends in a
// final state, its last arc being the first of `path`. Returns their number, -1 where no path is; `score`: the path's.
int64_t lstmp_search_path(void* handle, int64_t to_end, int64_t room, int32_t* path, float* score) {
  auto* s = static_cast<Search*>(handle);
  if (s->lattice()) return -1;  // which keeps no best arcs
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

void lstmp_search_sizes(void* handle, int64_t* sizes) {
  auto* s = static_cast<Search*>(handle);
  sizes[0] = s->states.size();
  sizes[1] = s->history.size();
}

// End the lattice. Returns the number of its links, -1 where no path reaches a final state.
int64_t lstmp_search_lattice(void* handle) try {
  auto* s = static_cast<Search*>(handle);
  if (!s->finish_lattice()) return -1;
  int64_t n = 0;
  for (const Frame& f : s->frames) n += f.links.size();
  return n;
} LSTMP_GUARD(-1)

// The links of the lattice: from-state, to-state (numbered frame by frame), arc of the graph, frame, and how much worse
// than the best path the best one through the link is.
void lstmp_search_links(void* handle, int32_t* from, int32_t* to, int32_t* arc, int32_t* frame, float* extra) {
  auto* s = static_cast<Search*>(handle);
  int32_t base = 0, t = 0;
  int64_t n = 0;
  for (const Frame& f : s->frames) {
    const int32_t next = base + static_cast<int32_t>(f.score.size());
    for (const Link& link : f.links) {
      from[n] = base + link.from;
      to[n] = next + link.to;
      arc[n] = link.arc;
      frame[n] = t;
      extra[n++] = link.extra;
    }
    base = next;
    ++t;
  }
}
}
