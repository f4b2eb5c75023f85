// Scores and best paths of lattices: the compiled form of lstmp/decode/lattice_paths.py, which explains the arrays. Arcs are
// rows of (from-state, to-state, label), sorted by from-state, and lead from lower to higher states. In a forward pass over
// the arcs, the score of each arc's from-state is therefore complete when it is read; in a backward pass, that of its
// to-state.
#include "../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr int64_t kBlock = 16;  // points of the grid that are processed at once: two vectors of doubles, little memory

struct Arc {
  int32_t from, to, label;
};

double log_add(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return low == kMinusInfinity ? high : high + std::log1p(std::exp(low - high));
}

template <typename Add>
void forward_backward(const Arc* arcs, int64_t num_arcs, int64_t states, const double* scores, double* forward,
                      double* backward, Add add) {
  std::fill(forward, forward + states, kMinusInfinity);
  std::fill(backward, backward + states, kMinusInfinity);
  forward[0] = backward[states - 1] = 0;
  for (int64_t a = 0; a < num_arcs; ++a)
    forward[arcs[a].to] = add(forward[arcs[a].to], forward[arcs[a].from] + scores[a]);
  for (int64_t a = num_arcs; a-- > 0;)
    backward[arcs[a].from] = add(backward[arcs[a].from], scores[a] + backward[arcs[a].to]);
}

}  // namespace

extern "C" {

// For each state, the score of the paths from the first state to it (`forward`) and from it to the last one (`backward`):
// of the best path, or with `log` of all paths (the logarithm of the sum of their exponentials).
void lstmp_lattice_scores(const void* arcs, int64_t num_arcs, int64_t states, const double* scores, int64_t log,
                          double* forward, double* backward) {
  const Arc* rows = static_cast<const Arc*>(arcs);
  if (log)
    forward_backward(rows, num_arcs, states, scores, forward, backward, log_add);
  else
    forward_backward(rows, num_arcs, states, scores, forward, backward,
                     [](double a, double b) { return std::max(a, b); });
}

// For each state, the mean over paths of the sum of `values` on their arcs: over the paths from the first state to it
// (`before`) and from it to the last one (`after`), by their probabilities. `forward`, `backward`: of lstmp_lattice_scores,
// with `log`. States that no path reaches get 0.
void lstmp_lattice_means(const void* arcs, int64_t num_arcs, int64_t states, const double* scores, const double* values,
                         const double* forward, const double* backward, double* before, double* after) {
  const Arc* rows = static_cast<const Arc*>(arcs);
  std::fill(before, before + states, 0.0);
  std::fill(after, after + states, 0.0);
  for (int64_t a = 0; a < num_arcs; ++a) {
    const int32_t from = rows[a].from, to = rows[a].to;
    if (forward[to] > kMinusInfinity)
      before[to] += std::exp(forward[from] + scores[a] - forward[to]) * (before[from] + values[a]);
  }
  for (int64_t a = num_arcs; a-- > 0;) {
    const int32_t from = rows[a].from, to = rows[a].to;
    if (backward[from] > kMinusInfinity)
      after[from] += std::exp(scores[a] + backward[to] - backward[from]) * (values[a] + after[to]);
  }
}

// The best path for each of `points` pairs of LM weight and word penalty, written as arc numbers to `paths` [points,
// length]. Returns 0, or 1 if a path is missing or does not have `length` arcs. An arc's score is rounded to float32
// (compiler flags prevent fused multiply-add), sums are float64. Of equal arcs the last one is taken, as k2 does.
int64_t lstmp_lattice_best(const void* arcs, int64_t num_arcs, int64_t states, const float* acoustic, const float* graph,
                           const uint8_t* num_words, int64_t points, const float* lm_weight, const float* penalty,
                           int64_t length, int32_t* paths) try {
  const Arc* rows = static_cast<const Arc*>(arcs);
  std::vector<double> best(states * kBlock);
  std::vector<int32_t> best_arc(states * kBlock);
  for (int64_t begin = 0; begin < points; begin += kBlock) {
    const int64_t count = std::min(kBlock, points - begin);
    float weight[kBlock], per_word[kBlock];
    for (int64_t p = 0; p < kBlock; ++p) {
      weight[p] = lm_weight[begin + std::min(p, count - 1)];
      per_word[p] = penalty[begin + std::min(p, count - 1)];
    }
    std::fill(best.begin(), best.end(), kMinusInfinity);
    std::fill(best_arc.begin(), best_arc.end(), -1);
    std::fill(best.begin(), best.begin() + kBlock, 0.0);
    for (int64_t a = 0; a < num_arcs; ++a) {
      const double* from = &best[rows[a].from * kBlock];
      double* to = &best[rows[a].to * kBlock];
      int32_t* arc = &best_arc[rows[a].to * kBlock];
      const float words = num_words[a];
      for (int64_t p = 0; p < kBlock; ++p) {
        const float score = (acoustic[a] / weight[p] + graph[a]) - per_word[p] * words;
        const double end = from[p] + score;
        arc[p] = end >= to[p] ? static_cast<int32_t>(a) : arc[p];
        to[p] = std::max(to[p], end);
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      int32_t* path = paths + (begin + p) * length;
      int64_t state = states - 1;
      if (best[state * kBlock + p] == kMinusInfinity) return 1;
      for (int64_t i = length; i-- > 0;) {
        const int32_t a = best_arc[state * kBlock + p];
        if (a < 0) return 1;
        path[i] = a;
        state = rows[a].from;
      }
      if (state != 0) return 1;
    }
  }
  return 0;
}
LSTMP_GUARD(2)

// The probability that a word is the last one before or at a frame, written to `presence` [words, frames]; see
// lstmp/decode/confidence.py. `row_of`: for each word on the arcs, in their order, its row in `presence`, or -1.
void lstmp_lattice_words(const void* arcs, int64_t num_arcs, int64_t states, const double* scores, const uint8_t* num_words,
                         const int32_t* row_of, const double* forward, const double* backward, int64_t words,
                         int64_t frames, double* presence) try {
  const Arc* rows = static_cast<const Arc*>(arcs);
  std::vector<double> current(words), next;  // for the states of a frame, and of the next frame
  int64_t first = 0, end = 1;                // the states of `current`
  for (int64_t a = 0, t = 0; a < num_arcs && t < frames; ++t) {
    int64_t stop = a, next_end = end;
    while (stop < num_arcs && rows[stop].from < end) next_end = std::max<int64_t>(next_end, rows[stop++].to + 1);
    next.assign((next_end - end) * words, 0.0);
    for (; a < stop; ++a) {
      const double up_to = forward[rows[a].from] + scores[a], after = backward[rows[a].to];
      const int32_t* arc_words = row_of;
      row_of += num_words[a];
      if (up_to == kMinusInfinity || after == kMinusInfinity) continue;
      // the share of the arc among the paths into its to-state, and among all paths
      const double share = std::exp(up_to - forward[rows[a].to]), all = std::exp(up_to + after - backward[0]);
      double* to = &next[(rows[a].to - end) * words];
      if (num_words[a]) {
        for (const int32_t* w = arc_words; w < row_of; ++w) {
          if (*w < 0 || std::find(arc_words, w, *w) < w) continue;  // count a word only once if an arc has it twice
          to[*w] += share;
          presence[*w * frames + t] += all;
        }
      } else {
        const double* from = &current[(rows[a].from - first) * words];
        for (int64_t w = 0; w < words; ++w) {
          if (from[w] == 0) continue;
          to[w] += share * from[w];
          presence[w * frames + t] += all * from[w];
        }
      }
    }
    current.swap(next);
    first = end;
    end = next_end;
  }
} LSTMP_GUARD()
}
