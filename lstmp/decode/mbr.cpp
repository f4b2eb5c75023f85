// Alignment of a hypothesis with all paths of a lattice: the compiled form of lstmp/decode/mbr.py, which explains it. Arcs are
// rows of (from-state, to-state, label), sorted by from-state, and lead from lower to higher states.
#include "../guard.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr double kInserted = 1 + 1e-5;  // cost of a word without a bin
constexpr double kEqual = 1e-9;         // rounding must not decide between alignments with the same errors

enum Step : uint8_t { kMatch,
                      kInsert,
                      kDelete };

struct Arc {
  int32_t from, to, label;
};

// The cost of a path up to each bin after one more word, from that before it. `steps`: the last step to each bin.
void one_word(const double* before, int32_t word, const int32_t* bins, int64_t num_bins, double* after, Step* steps) {
  after[0] = before[0] + kInserted;
  steps[0] = kInsert;
  for (int64_t q = 1; q <= num_bins; ++q) {
    double cost = before[q - 1] + (word != bins[q - 1]);
    Step step = kMatch;
    if (const double c = before[q] + kInserted; c < cost - kEqual) cost = c, step = kInsert;
    if (const double c = after[q - 1] + (bins[q - 1] != 0); c < cost - kEqual) cost = c, step = kDelete;
    after[q] = cost;
    steps[q] = step;
  }
}

}  // namespace

extern "C" {

// Adds `weight` times the probability of each word in each bin to `posteriors` [num_bins, vocabulary], and returns the
// expected number of errors. `words`: of the arcs in turn, `num_words` of each, from 1; `bins`: 0 is the empty word; `forward`
// and `backward`: log-probabilities of the states.
double lstmp_lattice_bins(const void* arcs, int64_t num_arcs, int64_t states, const double* scores, const uint8_t* num_words,
                          const int32_t* words, const double* forward, const double* backward, const int32_t* bins,
                          int64_t num_bins, int64_t vocabulary, double weight, double* posteriors) try {
  const Arc* rows = static_cast<const Arc*>(arcs);
  const int64_t width = num_bins + 1;
  thread_local std::vector<double> costs, occupied;  // kept: pages of new memory would cost more than the work on them
  costs.assign(states * width, 0.0);
  occupied.assign(states * width, 0.0);
  std::vector<double> chain(256 * width), left(width);  // an arc has at most 255 words
  std::vector<Step> steps(256 * width);
  for (int64_t q = 1; q < width; ++q) costs[q] = costs[q - 1] + (bins[q - 1] != 0);
  const auto share = [&](const Arc& arc, double score) {  // among the paths into the arc's to-state
    const double up_to = forward[arc.from] + score;
    return up_to == kMinusInfinity || backward[arc.to] == kMinusInfinity ? 0.0 : std::exp(up_to - forward[arc.to]);
  };
  // The costs after each word of an arc; returns those after the last one.
  const auto follow = [&](const Arc& arc, const int32_t* first, int64_t count) {
    const double* before = &costs[arc.from * width];
    for (int64_t k = 0; k < count; ++k) {
      one_word(before, first[k], bins, num_bins, &chain[k * width], &steps[k * width]);
      before = &chain[k * width];
    }
    return before;
  };
  const int32_t* word = words;
  for (int64_t a = 0; a < num_arcs; word += num_words[a++]) {
    const double part = share(rows[a], scores[a]);
    if (part == 0) continue;
    const double* after = follow(rows[a], word, num_words[a]);
    double* to = &costs[rows[a].to * width];
    for (int64_t q = 0; q < width; ++q) to[q] += part * after[q];
  }
  occupied[states * width - 1] = weight;
  for (int64_t a = num_arcs; a-- > 0;) {
    word -= num_words[a];
    const double part = share(rows[a], scores[a]);
    if (part == 0) continue;
    const double* to = &occupied[rows[a].to * width];
    double* from = &occupied[rows[a].from * width];
    if (num_words[a] == 0) {
      for (int64_t q = 0; q < width; ++q) from[q] += part * to[q];
      continue;
    }
    follow(rows[a], word, num_words[a]);
    for (int64_t q = 0; q < width; ++q) left[q] = part * to[q];
    for (int64_t k = num_words[a]; k-- > 0;) {
      const Step* step = &steps[k * width];
      double match = 0;  // the occupancy that goes to the next lower bin, before word k
      for (int64_t q = num_bins; q >= 0; --q) {
        const double here = left[q];
        left[q] = match;
        match = 0;
        if (step[q] == kInsert) {
          left[q] += here;
        } else if (step[q] == kMatch) {
          posteriors[(q - 1) * vocabulary + word[k]] += here;
          match = here;
        } else {
          posteriors[(q - 1) * vocabulary] += here;
          left[q - 1] += here;
        }
      }
    }
    for (int64_t q = 0; q < width; ++q) from[q] += left[q];
  }
  for (int64_t q = num_bins; q > 0; --q) {
    posteriors[(q - 1) * vocabulary] += occupied[q];
    occupied[q - 1] += occupied[q];
  }
  return costs[states * width - 1];
} LSTMP_GUARD(std::numeric_limits<double>::quiet_NaN())
}
