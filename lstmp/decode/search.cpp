// The beam search of lstmp/decode/engine.py, which explains the pruning rules and the arithmetic. A token is an active
// state of the graph at one frame. For earlier frames the search keeps either the best arc into each token (for the best
// path), or all arcs between tokens that can be on a path within the output beam (for a lattice). Scores are natural
// logarithms; higher is better. In Kaldi's LatticeFasterDecoder a Link is a ForwardLink, and `extra` is extra_cost.
#include "../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "tokens.h"

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Arc {
  int32_t to;
  int32_t label;  // pdf-id + 1; -1 on arcs into the final state
  float score;
};

struct State {
  int32_t begin, end;  // a bundle of arcs that only this state leads to, without a score; none if begin = end
  int32_t arc;         // the number, among the arcs of all states, of the first arc of the bundle
  int32_t way;         // the first one of its ways to further bundles; after the last one begin those of the next state
};

struct Way {      // from a state to a bundle of arcs; the scores of the arcs out of the state include that of the way
  int32_t begin;  // the first arc of the bundle
  int32_t end;    // after its last one; -1 - end if several ways lead to the bundle
  int32_t arc;    // the number, among the arcs of all states, of the first arc of this way
  float score;

  int32_t last() const { return end < 0 ? -1 - end : end; }
  int32_t number(int32_t a) const { return arc + (a - begin); }  // of arc `a` of the bundle
};

struct OpenBundle {  // a bundle that several ways lead to, and that active states lead to in this frame
  float best;        // the highest score with which it is reached
  int32_t begin;     // its first entrance; they follow each other
  int32_t near;      // the entrances before this one are so near to the best that rounding decides which is the best
  int32_t end;       // after the last one
};

struct Entrance {  // an active state that leads to such a bundle
  Way way;
  int32_t from;  // its token
  int32_t open;
  float score;   // that of the token plus that of the way
};

struct Entry {   // an entry of the history, for tracing back the best path
  int32_t prev;  // the entry of the previous token; -1 at the start of the utterance
  int32_t arc;   // the best arc into the token
};

constexpr int32_t kIsToken = std::numeric_limits<int32_t>::min();

struct Step {  // an arc out of an active state, extending the path of the token `from` by one frame
  float end;   // the score at the end of the arc
  int32_t to;  // the state that the arc leads to; once that state has a token, kIsToken + token, which is negative
  // If several entrances lead to the bundle of the arc, `from` is -1 - the best one, and `arc` that of the bundle.
  int32_t from, arc;
};

struct Link {  // an arc of the lattice, from a token of one frame to a token of the next frame
  int32_t from, to, arc;
  float end;    // the score of the best path up to the link, including it
  float extra;  // by how much the best path through the link is worse than the best path of the utterance
};

struct Frame {
  std::vector<float> score;  // one per token
  std::vector<Link> links;   // the links out of its tokens
};

constexpr int64_t kPruneEvery = 30;  // frames
constexpr size_t kPrefetch = 12;     // tokens: how far ahead arcs are prefetched, because they are scattered in memory

struct Search {
  const State* graph;
  const Way* ways;
  const Arc* arcs;  // of the bundles
  float default_beam;
  int64_t min_active, max_active;
  float beam;
  Tokens tokens;
  std::vector<int32_t> states, new_states, entry, new_entry;
  std::vector<float> score, new_score;
  Tokens open_of;           // first arc of a bundle that several ways lead to → number of its OpenBundle
  std::vector<OpenBundle> opens;
  std::vector<Entrance> unsorted, entrances;
  std::vector<Step> steps;  // only the first num_steps are valid
  size_t num_steps = 0;
  std::vector<Link> links;
  std::vector<Entry> history;
  size_t collect_at = 1 << 18;  // size of the history at which unused entries are dropped
  float output_beam = -1;  // negative: no lattice
  float slack = std::numeric_limits<float>::infinity();  // see lstmp_search_new
  std::vector<Frame> frames;

  void reset() {
    states.assign(1, 0);
    score.assign(1, 0.0f);
    entry.assign(1, -1);
    history.clear();
    beam = default_beam;
    frames.clear();
  }

  bool makes_lattice() const { return output_beam >= 0; }

  // For each arc out of the state of token `i`: f(way, arc of its bundle).
  template <class F>
  void for_arcs_of(size_t i, F f) const {
    const State* state = graph + states[i];
    const Way own{state->begin, state->end, state->arc, 0.0f};
    for (int32_t a = own.begin; a < own.end; ++a) f(own, a);
    for (const Way* w = ways + state[0].way; w < ways + state[1].way; ++w)
      for (int32_t a = w->begin; a < w->last(); ++a) f(*w, a);
  }

  // The score of token `i` with its best arc into the final state, and the number of this arc; minus infinity if it has
  // none.
  std::pair<float, int32_t> score_to_end(size_t i) const {
    std::pair<float, int32_t> best{kMinusInfinity, -1};
    for_arcs_of(i, [&](const Way& way, int32_t a) {
      const float end = score[i] + (way.score + arcs[a].score);
      if (arcs[a].label < 0 && (end > best.first || (end == best.first && way.number(a) < best.second)))
        best = {end, way.number(a)};
    });
    return best;
  }

  // In the frames from `begin` on, drop links that are worse than the best path by more than the output beam, and tokens
  // without links. `last_extra`, `last_score`: `extra` and score of the tokens after the last frame.
  void prune(size_t begin, std::vector<float> last_extra, const std::vector<float>& last_score) {
    std::vector<float> next_extra = std::move(last_extra), extra;
    std::vector<int32_t> next_number(next_extra.size()), number;  // new numbers of the tokens; -1: dropped
    for (size_t i = 0; i < next_extra.size(); ++i) next_number[i] = static_cast<int32_t>(i);
    const std::vector<float>* next_score = &last_score;
    std::vector<float> old_score;  // scores of the next frame's tokens before they were renumbered
    for (size_t t = frames.size(); t-- > begin;) {
      Frame& f = frames[t];
      extra.assign(f.score.size(), std::numeric_limits<float>::infinity());
      size_t kept = 0;
      for (Link link : f.links) {
        if (next_number[link.to] < 0) continue;
        link.extra = next_extra[link.to] + ((*next_score)[link.to] - link.end);
        if (!(link.extra <= output_beam)) continue;
        extra[link.from] = std::min(extra[link.from], link.extra);
        link.to = next_number[link.to];
        f.links[kept++] = link;
      }
      f.links.resize(kept);
      if (2 * kept < f.links.capacity()) f.links.shrink_to_fit();  // usually only a small part remains
      number.resize(f.score.size());
      std::vector<float> all_scores = f.score;
      int32_t num_kept = 0;
      for (size_t i = 0; i < f.score.size(); ++i) {
        // the tokens of frame `begin` are all kept, as the links into them are not pruned here
        const bool keep = extra[i] <= output_beam || (t == begin && begin > 0);
        number[i] = keep ? num_kept : -1;
        if (keep) f.score[num_kept++] = f.score[i];
      }
      f.score.resize(num_kept);
      if (2 * f.score.size() < f.score.capacity()) f.score.shrink_to_fit();
      for (Link& link : f.links) link.from = number[link.from];
      old_score.swap(all_scores);
      next_score = &old_score;
      next_extra.swap(extra);
      next_number.swap(number);
    }
  }

  // Complete the lattice after the last frame: add a frame with links into the final state, and prune all frames.
  bool finish_lattice() {
    Frame f;
    f.score = score;
    float best = kMinusInfinity;
    for (size_t i = 0; i < states.size(); ++i)
      for_arcs_of(i, [&](const Way& way, int32_t a) {
        if (arcs[a].label >= 0) return;
        const float end = score[i] + (way.score + arcs[a].score);
        f.links.push_back({static_cast<int32_t>(i), 0, way.number(a), end, 0});
        best = std::max(best, end);
      });
    if (!(best > kMinusInfinity)) return false;
    frames.push_back(std::move(f));
    prune(0, {0.0f}, {best});
    return true;
  }

  // Drop the entries of the history that no active token depends on (mark and compact).
  void collect() {
    std::vector<int32_t> new_number(history.size(), -1);
    for (int32_t e : entry)
      if (e >= 0) new_number[e] = 0;
    for (int64_t i = static_cast<int64_t>(history.size()) - 1; i >= 0; --i)
      if (new_number[i] == 0 && history[i].prev >= 0) new_number[history[i].prev] = 0;
    int32_t kept = 0;
    for (size_t i = 0; i < history.size(); ++i) {
      if (new_number[i] < 0) continue;
      Entry e = history[i];
      if (e.prev >= 0) e.prev = new_number[e.prev];
      new_number[i] = kept;
      history[kept++] = e;
    }
    history.resize(kept);
    for (int32_t& e : entry)
      if (e >= 0) e = new_number[e];
    collect_at = std::max<size_t>(1 << 18, 2 * history.size());
  }

  void choose_beam(bool near_end) {
    const int64_t active = states.size();
    const int64_t minimum = near_end ? std::max(min_active, max_active / 2) : min_active;
    if (active <= max_active) {
      if (active >= minimum || active == 0) {
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

  // Fill `steps` with the arcs out of the active states that may survive this frame, and return the best score. For a
  // lattice, `steps` also gets the arcs that may be within the output beam of a surviving arc into the same state. The
  // steps are contiguous, so that the graph, which is far larger than any cache, is read only once per frame.
  //
  // The arcs of a bundle are in the order of their scores, and none of its further arcs can survive if one cannot with
  // the highest acoustic score of the frame. Few of the arcs of a bundle with many are looked at.
  float expand(const float* loglikes, int64_t pdfs) {
    num_steps = 0;
    unsorted.clear();
    opens.clear();
    open_of.next_frame();
    const float width = makes_lattice() ? beam + output_beam : beam;
    const size_t n = states.size();
    const float highest = *std::max_element(loglikes, loglikes + pdfs);
    const float bound = std::isinf(slack) ? slack : highest + slack;
    float best = n ? best_step(std::max_element(score.begin(), score.end()) - score.begin(), loglikes) : kMinusInfinity;
    for (size_t i = 0; i < n; ++i) {
      if (i + 2 * kPrefetch < n) __builtin_prefetch(&graph[states[i + 2 * kPrefetch]]);
      if (i + kPrefetch < n) {
        const State* ahead = graph + states[i + kPrefetch];
        __builtin_prefetch(&arcs[ahead->begin]);
        if (ahead[0].way < ahead[1].way) __builtin_prefetch(&ways[ahead->way]);
      }
      const State* state = graph + states[i];
      const auto from = static_cast<int32_t>(i);
      best = follow({state->begin, state->end, state->arc, 0.0f}, from, loglikes, bound, width, best);
      for (const Way* way = ways + state[0].way; way < ways + state[1].way; ++way) {
        if (way->end >= 0) best = follow(*way, from, loglikes, bound, width, best);
        else open_bundle(*way, from);
      }
    }
    sort_entrances();
    for (size_t k = 0; k < opens.size(); ++k) {
      if (k + kPrefetch < opens.size()) __builtin_prefetch(&arcs[entrances[opens[k + kPrefetch].begin].way.begin]);
      const OpenBundle& open = opens[k];
      const Entrance& first = entrances[open.begin];
      best = open.end == open.begin + 1 ? follow(first.way, first.from, loglikes, bound, width, best)
                                        : follow_best(open, loglikes, bound, width, best);
    }
    return best;
  }

  Step* room_for(size_t more) {
    if (steps.size() < num_steps + more) steps.resize(2 * (num_steps + more));
    return steps.data() + num_steps;
  }

  // Take the steps from one token along the arcs of a way; `best` is the best score so far. Returns the new one.
  float follow(const Way way, int32_t from, const float* loglikes, float bound, float width, float best) {
    const int32_t last = way.last();
    const float reached = score[from];
    Step* out = room_for(last - way.begin);
    for (int32_t a = way.begin; a < last; ++a) {
      const Arc arc = arcs[a];
      const float graph_score = way.score + arc.score;
      if (!(reached + (bound + graph_score) > best - width)) break;
      const float acoustic = arc.label > 0 ? loglikes[arc.label - 1] : kMinusInfinity;
      const float end = reached + (acoustic + graph_score);
      if (!(end > best - width)) continue;  // `best` can only increase, so this arc cannot survive
      best = std::max(best, end);
      *out++ = {end, arc.to, from, way.number(a)};
    }
    num_steps = out - steps.data();
    return best;
  }

  // Note that token `from` leads to a bundle that others may lead to as well.
  void open_bundle(const Way& way, int32_t from) {
    const float reached = score[from] + way.score;
    bool is_new;
    const int32_t number = open_of.find_or_add(way.begin, static_cast<int32_t>(opens.size()), &is_new);
    if (is_new) opens.push_back({reached, 0, 0, 0});
    else opens[number].best = std::max(opens[number].best, reached);
    unsorted.push_back({way, from, number, reached});
  }

  // Fill `entrances` with those that matter: a path into a bundle that is worse than the best one by more than the output
  // beam cannot be in the lattice; without a lattice only the best one counts.
  void sort_entrances() {
    const float width = makes_lattice() ? output_beam : 0;
    size_t kept = 0;
    for (const Entrance& entrance : unsorted) {
      OpenBundle& open = opens[entrance.open];
      if (!(entrance.score >= open.best - width - rounding(open.best))) continue;
      ++open.end;
      unsorted[kept++] = entrance;
    }
    unsorted.resize(kept);
    entrances.resize(kept);
    int32_t count = 0;
    for (OpenBundle& open : opens) {
      open.begin = open.near = count;
      count += open.end;
      open.end = count;
    }
    for (const Entrance& entrance : unsorted) {  // near ones from the front, others from the back
      OpenBundle& open = opens[entrance.open];
      if (entrance.score >= open.best - rounding(open.best)) entrances[open.near++] = entrance;
      else entrances[--open.end] = entrance;
    }
    for (size_t k = 0; k < opens.size(); ++k)
      opens[k].end = k + 1 < opens.size() ? opens[k + 1].begin : static_cast<int32_t>(kept);
  }

  // More than the rounding errors of a sum of scores like this one.
  static float rounding(float score) { return 1e-5f * (100 + std::abs(score)); }

  // As `follow`, along the arcs of a bundle, each from the best one of its entrances.
  float follow_best(const OpenBundle& open, const float* loglikes, float bound, float width, float best) {
    const int32_t begin = entrances[open.begin].way.begin, last = entrances[open.begin].way.last();
    const float allowed = open.best + rounding(open.best);
    Step* out = room_for(last - begin);
    for (int32_t a = begin; a < last; ++a) {
      const Arc arc = arcs[a];
      if (!(allowed + (bound + arc.score) > best - width)) break;
      const float acoustic = arc.label > 0 ? loglikes[arc.label - 1] : kMinusInfinity;
      int32_t entrance = open.begin;
      float end = with_arc(entrances[entrance], acoustic, arc);
      for (int32_t p = entrance + 1; p < open.near; ++p) {
        const float other = with_arc(entrances[p], acoustic, arc);
        const bool first = entrances[p].way.arc < entrances[entrance].way.arc;
        if (other > end || (other == end && first)) end = other, entrance = p;
      }
      if (!(end > best - width)) continue;
      best = std::max(best, end);
      *out++ = {end, arc.to, -1 - entrance, a};
    }
    num_steps = out - steps.data();
    return best;
  }

  float with_arc(const Entrance& entrance, float acoustic, const Arc& arc) const {
    return score[entrance.from] + (acoustic + (entrance.way.score + arc.score));
  }

  // The best score at the end of the arcs out of the state of token `i`.
  float best_step(size_t i, const float* loglikes) const {
    float best = kMinusInfinity;
    for_arcs_of(i, [&](const Way& way, int32_t a) {
      if (arcs[a].label > 0)
        best = std::max(best, score[i] + (loglikes[arcs[a].label - 1] + (way.score + arcs[a].score)));
    });
    return best;
  }

  // Fill `links` with the steps into new tokens, from all entrances of their bundles. A step that is worse than the best
  // step into its token by more than the output beam is left out, as no path through it is within the output beam.
  void link_tokens(const float* loglikes) {
    for (size_t k = 0; k < num_steps; ++k) {
      const Step& step = steps[k];
      const int32_t token = step.to < 0 ? step.to - kIsToken : tokens.find(step.to);
      if (token < 0 || !(new_score[token] - step.end <= output_beam)) continue;
      if (step.from >= 0) {
        links.push_back({step.from, token, step.arc, step.end, 0});
        continue;
      }
      const Arc& arc = arcs[step.arc];
      const OpenBundle& open = opens[entrances[-1 - step.from].open];
      for (int32_t p = open.begin; p < open.end; ++p) {
        const float end = with_arc(entrances[p], loglikes[arc.label - 1], arc);
        if (new_score[token] - end <= output_beam)
          links.push_back({entrances[p].from, token, entrances[p].way.number(step.arc), end, 0});
      }
    }
  }

  // Search one frame. `loglikes` [pdfs].
  void advance(const float* loglikes, int64_t pdfs, bool near_end) {
    choose_beam(near_end);
    const float best = expand(loglikes, pdfs);
    const float cutoff = best - beam;
    new_states.clear();
    new_score.clear();
    new_entry.clear();
    links.clear();
    tokens.next_frame();
    for (size_t k = 0; k < num_steps; ++k) {
      Step& step = steps[k];
      if (!(step.end > cutoff)) continue;
      bool is_new;
      const int32_t token = tokens.find_or_add(step.to, static_cast<int32_t>(new_states.size()), &is_new);
      if (is_new) {
        new_states.push_back(step.to);
        new_score.push_back(kMinusInfinity);
        if (!makes_lattice()) {
          new_entry.push_back(static_cast<int32_t>(history.size()));
          history.push_back({-1, -1});
        }
      }
      if (makes_lattice()) {
        new_score[token] = std::max(new_score[token], step.end);
        step.to = kIsToken + token;
      } else if (step.end >= new_score[token]) {  // of equally good arcs the first one of the graph
        const bool direct = step.from >= 0;
        const int32_t from = direct ? step.from : entrances[-1 - step.from].from;
        const int32_t arc = direct ? step.arc : entrances[-1 - step.from].way.number(step.arc);
        Entry& into = history[new_entry[token]];
        if (step.end == new_score[token] && into.arc < arc) continue;
        new_score[token] = step.end;
        into = {entry[from], arc};
      }
    }
    if (makes_lattice()) link_tokens(loglikes);
    states.swap(new_states);
    if (makes_lattice()) frames.push_back({score, links});  // copies, without unused capacity
    score.swap(new_score);
    entry.swap(new_entry);
    if (history.size() > collect_at) collect();
    if (makes_lattice() && frames.size() % kPruneEvery == 0) {  // any current token may become part of the best path
      const size_t begin = frames.size() > 2 * kPruneEvery ? frames.size() - 2 * kPruneEvery : 0;
      prune(begin, std::vector<float>(score.size(), 0.0f), score);
    }
  }
};

}  // namespace

extern "C" {

// Create a search. `graph` [states + 1, 4], `ways` [W, 4] and `arcs` [N, 3], those of the bundles, must outlive it. With
// an `output_beam` of 0 or more it makes a lattice. No arc of a bundle has a score that is higher than that of an arc
// before it by more than `slack`: 0 if they are in the order of their scores, infinity if in any order.
void* lstmp_search_new(const void* graph, const void* ways, const void* arcs, float beam, int64_t min_active,
                       int64_t max_active, float output_beam, float slack) try {
  std::unique_ptr<Search> s(new Search{static_cast<const State*>(graph), static_cast<const Way*>(ways),
                                       static_cast<const Arc*>(arcs), beam, min_active, max_active, beam});
  s->output_beam = output_beam;
  s->slack = slack;
  s->reset();
  return s.release();
} LSTMP_GUARD(nullptr)

void lstmp_search_free(void* handle) { delete static_cast<Search*>(handle); }

void lstmp_search_reset(void* handle) try {
  static_cast<Search*>(handle)->reset();
}
LSTMP_GUARD()

// Search more frames. `scores` [frames, pdfs]: acoustic log-likelihoods, already multiplied by the acoustic scale. The last
// `near_end` frames are pruned less.
void lstmp_search_advance(void* handle, const float* scores, int64_t frames, int64_t pdfs, int64_t near_end) try {
  auto* s = static_cast<Search*>(handle);
  for (int64_t t = 0; t < frames; ++t) s->advance(scores + t * pdfs, pdfs, t >= frames - near_end);
}
LSTMP_GUARD()

// Write the arcs of the best path so far to `path`, last arc first, at most `capacity` of them, and its score to `score`.
// With `to_end`, it is the best path that ends in a final state. Returns the number of arcs, -1 if there is no path.
int64_t lstmp_search_path(void* handle, int64_t to_end, int64_t capacity, int32_t* path, float* score) {
  auto* s = static_cast<Search*>(handle);
  if (s->makes_lattice()) return -1;  // a search for a lattice keeps no history of best arcs
  float best = kMinusInfinity;
  int32_t entry = -1, last = -1;
  bool found = false;
  for (size_t i = 0; i < s->states.size(); ++i) {
    // of equally good paths, the one whose last state or arc comes first in the graph
    if (!to_end) {
      if (s->score[i] > best || (found && s->score[i] == best && s->states[i] < last))
        best = s->score[i], entry = s->entry[i], last = s->states[i], found = true;
      continue;
    }
    const auto [end, arc] = s->score_to_end(i);
    if (end > best || (found && end == best && arc < last)) best = end, entry = s->entry[i], last = arc, found = true;
  }
  if (!found) return -1;
  *score = best;
  int64_t n = 0;
  if (to_end && n < capacity) path[n++] = last;
  for (; entry >= 0 && n < capacity; entry = s->history[entry].prev) path[n++] = s->history[entry].arc;
  return n;
}

// The number of arcs at the beginning of the best path that the paths of all active tokens share: they no longer change.
int64_t lstmp_search_settled(void* handle) try {
  const auto* s = static_cast<Search*>(handle);
  if (s->makes_lattice()) return 0;
  std::vector<int32_t> level(s->entry);  // the ancestors of the tokens in one frame
  for (;;) {
    std::sort(level.begin(), level.end());
    level.erase(std::unique(level.begin(), level.end()), level.end());
    if (level.size() < 2) break;
    for (int32_t& entry : level) entry = s->history[entry].prev;
  }
  int64_t arcs = 0;
  for (int32_t entry = level.empty() ? -1 : level[0]; entry >= 0; entry = s->history[entry].prev) ++arcs;
  return arcs;
}
LSTMP_GUARD(0)

// For each arc of the path that lstmp_search_path gives, without an arc into the final state, last arc first, write to
// `shares` the share of the active tokens, weighted by the exponentials of their scores, whose paths have the same arc in
// this frame and the same state after it. Returns the number of arcs, at most `capacity`.
int64_t lstmp_search_shares(void* handle, int64_t to_end, int64_t capacity, float* shares) try {
  const auto* s = static_cast<Search*>(handle);
  if (s->makes_lattice()) return 0;
  std::vector<float> score(s->score);
  for (size_t i = 0; to_end && i < score.size(); ++i) score[i] = s->score_to_end(i).first;
  if (score.empty()) return 0;
  const size_t best = std::max_element(score.begin(), score.end()) - score.begin();
  if (score[best] == kMinusInfinity) return 0;
  struct Weighted {
    int32_t entry;
    double weight;
  };
  std::vector<Weighted> level;  // the ancestors of the tokens in one frame
  double total = 0;
  for (size_t i = 0; i < score.size(); ++i) {
    level.push_back({s->entry[i], std::exp(static_cast<double>(score[i]) - score[best])});
    total += level.back().weight;
  }
  int64_t n = 0;
  for (int32_t entry = s->entry[best]; entry >= 0 && n < capacity; entry = s->history[entry].prev) {
    std::sort(level.begin(), level.end(), [](const Weighted& a, const Weighted& b) { return a.entry < b.entry; });
    size_t kept = 0;
    for (size_t i = 1; i < level.size(); ++i) {
      if (level[i].entry == level[kept].entry) level[kept].weight += level[i].weight;
      else level[++kept] = level[i];
    }
    level.resize(kept + 1);
    for (Weighted& w : level) {
      if (w.entry == entry) shares[n] = static_cast<float>(w.weight / total);
      w.entry = s->history[w.entry].prev;
    }
    ++n;
  }
  return n;
}
LSTMP_GUARD(0)

// Write the number of active tokens and the number of entries in the history to `sizes`.
void lstmp_search_sizes(void* handle, int64_t* sizes) {
  auto* s = static_cast<Search*>(handle);
  sizes[0] = s->states.size();
  sizes[1] = s->history.size();
}

// Complete the lattice. Returns the number of its links, -1 if no path reaches a final state.
int64_t lstmp_search_lattice(void* handle) try {
  auto* s = static_cast<Search*>(handle);
  if (!s->finish_lattice()) return -1;
  int64_t n = 0;
  for (const Frame& f : s->frames) n += f.links.size();
  return n;
}
LSTMP_GUARD(-1)

// Write the links of the lattice: from-state, to-state (numbered frame by frame), arc of the graph, frame, and by how much
// the best path through the link is worse than the best path of the utterance.
void lstmp_search_links(void* handle, int32_t* from, int32_t* to, int32_t* arc, int32_t* frame, float* extra) {
  auto* s = static_cast<Search*>(handle);
  int32_t base = 0, t = 0;
  int64_t n = 0;
  for (Frame& f : s->frames) {
    const int32_t next = base + static_cast<int32_t>(f.score.size());
    std::sort(f.links.begin(), f.links.end(), [](const Link& a, const Link& b) {
      return a.from < b.from || (a.from == b.from && a.arc < b.arc);
    });
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
