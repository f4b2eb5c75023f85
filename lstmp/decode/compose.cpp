// LM rescoring of a lattice: the compiled form of Rescorer.compose in lstmp/decode/lm_rescore.py. A state of the result
// consists of a lattice state and a state of each LM. States are sorted and numbered frame by frame, as in the NumPy form.
#include "../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <tuple>
#include <vector>

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Lm {  // the arrays of BackoffLm in backoff_lm.py
  const int64_t* keys;  // state * width + word, sorted
  int64_t num_keys, width, start;
  const int64_t* to;
  const double* cost;
  const int64_t* back_to;  // -1: none
  const double* back_cost;
  const double* final_cost;

  // The cost of `word` in `state`, infinite if there is no such word. `state` becomes the next state.
  double step(int64_t* state, int64_t word) const {
    double sum = 0;
    for (int64_t s = *state;; s = back_to[s]) {
      const int64_t key = s * width + word;
      const int64_t* arc = std::lower_bound(keys, keys + num_keys, key);
      if (word < width && arc != keys + num_keys && *arc == key) {
        *state = to[arc - keys];
        return sum + cost[arc - keys];
      }
      if (back_to[s] < 0) {
        *state = start;
        return kInfinity;
      }
      sum += back_cost[s];
    }
  }

  // The cost of the end of the sentence in `state`.
  double end(int64_t state) const {
    double sum = 0;
    for (; std::isinf(final_cost[state]) && back_to[state] >= 0; state = back_to[state]) sum += back_cost[state];
    return sum + final_cost[state];
  }
};

struct State {
  int64_t lattice, old_lm, new_lm;
  bool operator<(const State& o) const {
    return std::tie(lattice, old_lm, new_lm) < std::tie(o.lattice, o.old_lm, o.new_lm);
  }
  bool operator==(const State& o) const {
    return lattice == o.lattice && old_lm == o.old_lm && new_lm == o.new_lm;
  }
};

struct Row {  // an arc of the result
  int32_t from, to, arc;
  double change;  // what is added to its graph score
};

struct Composed {
  std::vector<Row> rows;
  int64_t frames = 0;
};

}  // namespace

extern "C" {

// Compose a lattice with both LMs. `arcs` has rows of from-state, to-state, label. The arcs out of state s are first[s] to
// first[s + 1] - 1, the words on arc a are words[splits[a]] to words[splits[a + 1] - 1]. Returns a handle, null if the old
// LM does not have one of the words. `sizes`: the number of arcs of the result, and its number of frames plus 2.
void* lstmp_compose(const int32_t* arcs, const int64_t* first, const int64_t* splits, const int32_t* words,
                    const Lm* old_lm, const Lm* new_lm, int64_t* sizes) try {
  auto out = std::make_unique<Composed>();
  std::vector<State> states{{0, old_lm->start, new_lm->start}}, reached, sorted;
  int64_t base = 0;
  while (!states.empty()) {
    const size_t begin = out->rows.size();
    reached.clear();
    for (size_t i = 0; i < states.size(); ++i)
      for (int64_t a = first[states[i].lattice]; a < first[states[i].lattice + 1]; ++a) {
        State next{arcs[3 * a + 1], states[i].old_lm, states[i].new_lm};
        double change = 0;
        const bool last = arcs[3 * a + 2] < 0;
        for (int64_t w = splits[a]; w < splits[a + 1] + last; ++w) {
          const bool end = w == splits[a + 1];
          const double old_cost = end ? old_lm->end(next.old_lm) : old_lm->step(&next.old_lm, words[w]);
          const double new_cost = end ? new_lm->end(next.new_lm) : new_lm->step(&next.new_lm, words[w]);
          if (std::isinf(old_cost)) return nullptr;
          change += -new_cost - -old_cost;
        }
        if (last) next.old_lm = next.new_lm = 0;
        if (!(change > -kInfinity)) continue;
        reached.push_back(next);
        out->rows.push_back({static_cast<int32_t>(base + i), 0, static_cast<int32_t>(a), change});
      }
    sorted = reached;
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    base += states.size();
    for (size_t k = 0; k < reached.size(); ++k)
      out->rows[begin + k].to =
          static_cast<int32_t>(base + (std::lower_bound(sorted.begin(), sorted.end(), reached[k]) - sorted.begin()));
    states.swap(sorted);
    ++out->frames;
  }
  sizes[0] = out->rows.size();
  sizes[1] = out->frames;
  return out.release();
}
LSTMP_GUARD(nullptr)

// Copy the arcs of the result: from-state, to-state, arc of the lattice, and change of its graph score. Frees the handle.
void lstmp_compose_take(void* handle, int32_t* from, int32_t* to, int32_t* arc, double* change) {
  auto* composed = static_cast<Composed*>(handle);
  for (const Row& row : composed->rows) *from++ = row.from, *to++ = row.to, *arc++ = row.arc, *change++ = row.change;
  delete composed;
}
}
