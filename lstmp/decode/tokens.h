// The table of the states that are alive in search.cpp.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

// State → token of the frame to come: a table that stays in the cache, where one entry for each state would not.
class Tokens {
 public:
  void next_frame() {
    used_ = 0;
    if (++now_ == 0) clear();
    std::fill(seen_.begin(), seen_.end(), 0);
  }

  // The token of a state; `fresh` says whether there was none, and then it is `token`.
  int32_t find(int32_t state, int32_t token, bool* fresh) {
    if (2 * used_ >= table_.size()) grow();
    Slot& slot = table_[place(state)];
    *fresh = slot.frame != now_;
    if (*fresh) {
      seen_[bit(state) >> 6] |= uint64_t{1} << (bit(state) & 63);
      slot = {state, token, now_};
      ++used_;
    }
    return slot.token;
  }

  // The token of a state, -1 where it has none, which a few bits tell of most states.
  int32_t at(int32_t state) const {
    if (!(seen_[bit(state) >> 6] >> (bit(state) & 63) & 1)) return -1;
    const Slot& slot = table_[place(state)];
    return slot.frame == now_ ? slot.token : -1;
  }

 private:
  struct Slot {
    int32_t state, token;
    uint32_t frame = 0;
  };

  static uint32_t bit(int32_t state) { return (static_cast<uint32_t>(state) * 2654435769u) >> 16; }

  size_t place(int32_t state) const {
    size_t at = (static_cast<uint32_t>(state) * 2654435769u) >> shift_;
    while (table_[at].frame == now_ && table_[at].state != state) at = (at + 1) & (table_.size() - 1);
    return at;
  }

  void grow() {
    std::vector<Slot> old(2 * table_.size());
    old.swap(table_);
    --shift_;
    for (const Slot& slot : old)
      if (slot.frame == now_) table_[place(slot.state)] = slot;
  }

  void clear() {
    for (Slot& slot : table_) slot.frame = 0;
    now_ = 1;
  }

  int shift_ = 32 - 12;
  std::vector<Slot> table_ = std::vector<Slot>(1 << 12);
  std::vector<uint64_t> seen_ = std::vector<uint64_t>(1 << 10);  // a bit for each hash of 16 bits
  uint32_t now_ = 0;
  size_t used_ = 0;
};
