// Lattices with one path for each word sequence: the compiled form of lstmp/decode/determinize.py, which explains it. Arcs are
// rows of (from-state, to-state, label), sorted by from-state, and lead from lower to higher states.
#include "../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <queue>
#include <utility>
#include <vector>

namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr int64_t kPlaces = 20;  // more places than this for each arc of the capacity are too many
constexpr double kSame = 4096;  // scores relative to the best one are compared in units of 1 / kSame

struct Arc {
  int32_t from, to, label;
};

struct Scores {
  double total, acoustic, graph;
  Scores operator+(const Scores& o) const { return {total + o.total, acoustic + o.acoustic, graph + o.graph}; }
  Scores operator-(const Scores& o) const { return {total - o.total, acoustic - o.acoustic, graph - o.graph}; }
};

// A place in the lattice: a state, or `states` + w before word w, in the middle of an arc.
struct Element {
  int64_t place;
  Scores scores;
};

struct Emission {
  int32_t word;
  Element element;
};

using Key = std::vector<int64_t>;

struct Output {
  int64_t to;
  int32_t word;  // 0: into the last state
  Scores scores;
};

struct Lattice {
  const Arc* arcs;
  int64_t num_arcs, states;
  const double *acoustic, *graph, *total, *backward;  // `backward`: of the best path from each state
  const uint8_t* num_words;
  const int32_t* words;
  std::vector<int64_t> first, word_begin, arc;  // `first`: arcs of a state; `word_begin`: words of an arc; `arc` of a word

  Scores scores(int64_t a) const { return {total[a], acoustic[a], graph[a]}; }
  double onwards(int64_t place) const { return backward[place < states ? place : arcs[arc[place - states]].to]; }
  // The place after word w.
  int64_t after(int64_t w) const { return w + 1 < word_begin[arc[w] + 1] ? states + w + 1 : arcs[arc[w]].to; }
};

void fill(Lattice& x) {
  x.first.assign(x.states + 1, x.num_arcs);
  for (int64_t a = x.num_arcs; a-- > 0;) x.first[x.arcs[a].from] = a;
  for (int64_t s = x.states; s-- > 0;) x.first[s] = std::min(x.first[s], x.first[s + 1]);
  x.word_begin.assign(1, 0);
  for (int64_t a = 0; a < x.num_arcs; ++a) {
    x.word_begin.push_back(x.word_begin.back() + x.num_words[a]);
    x.arc.insert(x.arc.end(), x.num_words[a], a);
  }
}

// Follows the arcs without words from the places of a new state. `live`: scratch, -inf for all states. `least`: score onwards
// that a path must have.
struct Expansion {
  std::vector<Emission> emissions;
  Scores end{kMinusInfinity, 0, 0};

  void fill(const Lattice& x, const std::vector<Element>& elements, double least, std::vector<Scores>& live) {
    int64_t low = x.states, high = -1;
    const auto reach = [&](int64_t state, const Scores& s) {
      if (s.total + x.backward[state] < least || s.total <= live[state].total) return;
      live[state] = s;
      low = std::min(low, state);
      high = std::max(high, state);
    };
    for (const Element& e : elements) {
      if (e.place < x.states) {
        reach(e.place, e.scores);
      } else if (e.scores.total + x.onwards(e.place) >= least) {
        emissions.push_back({x.words[e.place - x.states], {x.after(e.place - x.states), e.scores}});
      }
    }
    for (int64_t s = low; s <= high; ++s) {
      if (live[s].total == kMinusInfinity) continue;
      const Scores here = live[s];
      live[s] = {kMinusInfinity, 0, 0};
      if (s == x.states - 1) end = here;
      for (int64_t a = x.first[s]; a < x.first[s + 1]; ++a) {
        const Scores on = here + x.scores(a);
        if (x.num_words[a] == 0) {
          reach(x.arcs[a].to, on);
        } else if (on.total + x.backward[x.arcs[a].to] >= least) {
          emissions.push_back({x.words[x.word_begin[a]], {x.after(x.word_begin[a]), on}});
        }
      }
    }
    std::sort(emissions.begin(), emissions.end(), [](const Emission& a, const Emission& b) {
      if (a.word != b.word) return a.word < b.word;
      if (a.element.place != b.element.place) return a.element.place < b.element.place;
      return a.element.scores.total > b.element.scores.total;
    });
  }
};

// The states of the new lattice in an order in which arcs lead from lower to higher ones.
void number(const std::vector<std::vector<Output>>& leaving, std::vector<int64_t>& order) {
  std::vector<char> seen(leaving.size(), 0);
  std::vector<std::pair<int64_t, size_t>> stack{{0, 0}};
  seen[0] = 1;
  while (!stack.empty()) {
    auto& [state, next] = stack.back();
    if (next == leaving[state].size()) {
      order.push_back(state);
      stack.pop_back();
      continue;
    }
    const Output& arc = leaving[state][next++];
    if (arc.word && !seen[arc.to]) {
      seen[arc.to] = 1;
      stack.push_back({arc.to, 0});
    }
  }
  std::reverse(order.begin(), order.end());
}

}  // namespace

extern "C" {

// Writes the arcs of the new lattice (`new_arcs` [capacity, 3], `new_scores` [capacity, 2], `new_words` [capacity]), sorted by
// from-state, and returns their number. If that is above the capacity, nothing was written, and there may be more.
int64_t lstmp_lattice_determinize(const void* arcs, int64_t num_arcs, int64_t states, const double* acoustic, const double* graph,
                                  const double* total, const double* backward, const uint8_t* num_words, const int32_t* words, double beam,
                                  int64_t capacity, int32_t* new_arcs, double* new_scores, int32_t* new_words) try {
  Lattice x{static_cast<const Arc*>(arcs), num_arcs, states, acoustic, graph, total, backward, num_words, words, {}, {}, {}};
  fill(x);
  const double least = backward[0] - beam;
  std::vector<std::vector<Element>> elements;
  std::vector<double> forward, onwards;
  std::vector<std::vector<Output>> leaving;
  std::vector<char> done;
  std::map<Key, int64_t> known;
  std::priority_queue<std::pair<double, int64_t>> queue;
  std::vector<Scores> live(states, {kMinusInfinity, 0, 0});
  int64_t count = 0, places = 0;
  // The state with these places, whose scores are relative to the best one.
  const auto state_of = [&](std::vector<Element>&& of_state) {
    Key key;
    double best = kMinusInfinity;
    for (const Element& e : of_state) {
      key.push_back(e.place);
      key.push_back(std::llround(e.scores.total * kSame));
      key.push_back(std::llround(e.scores.acoustic * kSame));
      best = std::max(best, e.scores.total + x.onwards(e.place));
    }
    const auto [found, is_new] = known.emplace(std::move(key), static_cast<int64_t>(elements.size()));
    if (is_new) {
      places += of_state.size();
      elements.push_back(std::move(of_state));
      forward.push_back(kMinusInfinity);
      onwards.push_back(best);
      leaving.emplace_back();
      done.push_back(0);
    }
    return found->second;
  };
  const auto reach = [&](int64_t state, double score) {
    if (score <= forward[state]) return;
    forward[state] = score;
    if (!done[state]) queue.push({score + onwards[state], state});
  };
  reach(state_of({{0, {0, 0, 0}}}), 0);
  while (!queue.empty()) {  // the best path first, so that a state's forward score is final when it is taken
    const int64_t from = queue.top().second;
    queue.pop();
    if (done[from]) continue;
    done[from] = 1;
    Expansion next;
    next.fill(x, elements[from], least - forward[from], live);
    std::vector<Output> outputs;
    if (next.end.total > kMinusInfinity) outputs.push_back({-1, 0, next.end});
    for (size_t i = 0; i < next.emissions.size();) {
      const int32_t word = next.emissions[i].word;
      std::vector<Element> of_state;
      for (; i < next.emissions.size() && next.emissions[i].word == word; ++i) {
        const Element& e = next.emissions[i].element;
        if (of_state.empty() || of_state.back().place != e.place) of_state.push_back(e);
      }
      Scores best = of_state[0].scores;
      for (const Element& e : of_state) best = e.scores.total > best.total ? e.scores : best;
      for (Element& e : of_state) e.scores = e.scores - best;
      outputs.push_back({state_of(std::move(of_state)), word, best});
    }
    count += outputs.size();
    if (count > capacity || places > kPlaces * capacity) return std::max(count, capacity + 1);
    std::vector<Element>().swap(elements[from]);
    for (const Output& arc : outputs)
      if (arc.word) reach(arc.to, forward[from] + arc.scores.total);
    leaving[from] = std::move(outputs);
  }
  std::vector<int64_t> order, numbers(leaving.size(), 0);
  number(leaving, order);
  for (size_t i = 0; i < order.size(); ++i) numbers[order[i]] = i;
  int64_t row = 0;
  for (const int64_t state : order) {
    for (const Output& arc : leaving[state]) {
      new_arcs[3 * row] = numbers[state];
      new_arcs[3 * row + 1] = arc.word ? numbers[arc.to] : order.size();
      new_arcs[3 * row + 2] = arc.word ? 0 : -1;
      new_scores[2 * row] = arc.scores.acoustic;
      new_scores[2 * row + 1] = arc.scores.graph;
      new_words[row++] = arc.word;
    }
  }
  return row;
} LSTMP_GUARD(-1)
}
