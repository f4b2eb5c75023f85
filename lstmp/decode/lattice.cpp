// Scores and best paths of lattices: the compiled form of lstmp/decode/lattice_paths.py, which explains the arrays. Arcs are
// rows of (from-state, to-state, label), sorted by from-state, from a lower state to a higher one: read forwards, every
// score that an arc starts from is complete; read backwards, every score that it leads to.
#include "../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr int64_t kTogether = 16;  // points of the grid: two vectors of doubles, and a small part of a large lattice's memory

struct Arc {
  int32_t from, to, label;
};

double log_add(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return low == kNever ? high : high + std::log1p(std::exp(low - high));
}

template <typename Add>
void both_ways(const Arc* arcs, int64_t num_arcs, int64_t states, const double* scores, double* forward, double* backward,
               Add add) {
  std::fill(forward, forward + states, kNever);
  std::fill(backward, backward + states, kNever);
  forward[0] = backward[states - 1] = 0;
  for (int64_t a = 0; a < num_arcs; ++a)
    forward[arcs[a].to] = add(forward[arcs[a].to], forward[arcs[a].from] + scores[a]);
  for (int64_t a = num_arcs; a-- > 0;)
    backward[arcs[a].from] = add(backward[arcs[a].from], scores[a] + backward[arcs[a].to]);
}

}  // namespace

extern "C" {

// Of each state the score of all paths from the first state to it (`forward`) and from it to the last one (`backward`):
// the best path's, or with `log` the logarithm of the sum of their exponentials.
void lstmp_lattice_scores(const void* arcs, int64_t num_arcs, int64_t states, const double* scores, int64_t log,
                          double* forward, double* backward) {
  const Arc* rows = static_cast<const Arc*>(arcs);
  if (log)
    both_ways(rows, num_arcs, states, scores, forward, backward, log_add);
  else
    both_ways(rows, num_arcs, states, scores, forward, backward, [](double a, double b) { return std::max(a, b); });
}

// The best path under each of `points` pairs of LM weight and word penalty, as arc numbers into the rows of `paths`
// [points, length]. Returns 0; 1 where a path is missing or not `length` arcs long. An arc's score is rounded to float32
// (no product fused into a sum: the flags see to it), sums are float64; of equals the arc that comes last is taken, as by k2.
int64_t lstmp_lattice_best(const void* arcs, int64_t num_arcs, int64_t states, const float* acoustic, const float* graph,
                           const uint8_t* num_words, int64_t points, const float* lm_weight, const float* penalty,
                           int64_t length, int32_t* paths) try {
  const Arc* rows = static_cast<const Arc*>(arcs);
  std::vector<double> best(states * kTogether);
  std::vector<int32_t> by(states * kTogether);
  for (int64_t begin = 0; begin < points; begin += kTogether) {
    const int64_t count = std::min(kTogether, points - begin);
    float weight[kTogether], per_word[kTogether];
    for (int64_t p = 0; p < kTogether; ++p) {
      weight[p] = lm_weight[begin + std::min(p, count - 1)];
      per_word[p] = penalty[begin + std::min(p, count - 1)];
    }
    std::fill(best.begin(), best.end(), kNever);
    std::fill(by.begin(), by.end(), -1);
    std::fill(best.begin(), best.begin() + kTogether, 0.0);
    for (int64_t a = 0; a < num_arcs; ++a) {
      const double* from = &best[rows[a].from * kTogether];
      double* to = &best[rows[a].to * kTogether];
      int32_t* arc = &by[rows[a].to * kTogether];
      const float words = num_words[a];
      for (int64_t p = 0; p < kTogether; ++p) {
        const float score = (acoustic[a] / weight[p] + graph[a]) - per_word[p] * words;
        const double end = from[p] + score;
        arc[p] = end >= to[p] ? static_cast<int32_t>(a) : arc[p];
        to[p] = std::max(to[p], end);
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      int32_t* path = paths + (begin + p) * length;
      int64_t state = states - 1;
      if (best[state * kTogether + p] == kNever) return 1;
      for (int64_t i = length; i-- > 0;) {
        const int32_t a = by[state * kTogether + p];
        if (a < 0) return 1;
        path[i] = a;
        state = rows[a].from;
      }
      if (state != 0) return 1;
    }
  }
  return 0;
} LSTMP_GUARD(2)

// The probability that a word is the last one before or at a frame, as `presence` [words, frames]; lstmp/decode/
// confidence.py explains it. `which` says of each word on the arcs, in their order, which of the `words` it is, or -1.
void lstmp_lattice_words(const void* arcs, int64_t num_arcs, int64_t states, const double* scores, const uint8_t* num_words,
                         const int32_t* which, const double* forward, const double* backward, int64_t words,
                         int64_t frames, double* presence) try {
  const Arc* rows = static_cast<const Arc*>(arcs);
  std::vector<double> here(words), next;  // of the states of a frame, and of the frame after it
  int64_t first = 0, end = 1;             // the states of `here`
  for (int64_t a = 0, t = 0; a < num_arcs && t < frames; ++t) {
    int64_t stop = a, next_end = end;
    while (stop < num_arcs && rows[stop].from < end) next_end = std::max<int64_t>(next_end, rows[stop++].to + 1);
    next.assign((next_end - end) * words, 0.0);
    for (; a < stop; ++a) {
      const double up_to = forward[rows[a].from] + scores[a], after = backward[rows[a].to];
      const int32_t* found = which;
      which += num_words[a];
      if (up_to == kNever || after == kNever) continue;
      const double share = std::exp(up_to - forward[rows[a].to]), all = std::exp(up_to + after - backward[0]);
      double* to = &next[(rows[a].to - end) * words];
      if (num_words[a]) {
        for (const int32_t* w = found; w < which; ++w) {
          if (*w < 0 || std::find(found, w, *w) < w) continue;  // a word that an arc has twice is there once
          to[*w] += share;
          presence[*w * frames + t] += all;
        }
      } else {
        const double* from = &here[(rows[a].from - first) * words];
        for (int64_t w = 0; w < words; ++w) {
          if (from[w] == 0) continue;
          to[w] += share * from[w];
          presence[w * frames + t] += all * from[w];
        }
      }
    }
    here.swap(next);
    first = end;
    end = next_end;
  }
} LSTMP_GUARD()
}
