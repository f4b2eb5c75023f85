// A hash table of the active states in search.cpp.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

// State → its token in the next frame. This table stays in the cache; an array with an entry for each state would not.
class Tokens {
 public:
  void next_frame() {
    used_ = 0;
    if (++now_ == 0) clear();
    std::fill(seen_.begin(), seen_.end(), 0);
  }

  // The token of a state. If it has none, `*is_new` becomes true, and `token` is added and returned.
  int32_t find_or_add(int32_t state, int32_t token, bool* is_new) {
    if (2 * used_ >= table_.size()) grow();
    Slot& slot = table_[slot_of(state)];
    *is_new = slot.frame != now_;
    if (*is_new) {
      seen_[bit(state) >> 6] |= uint64_t{1} << (bit(state) & 63);
      slot = {state, token, now_};
      ++used_;
    }
    return slot.token;
  }

  // The token of a state, -1 if it has none. The bits in seen_ answer this for most states without a look-up.
  int32_t find(int32_t state) const {
    if (!(seen_[bit(state) >> 6] >> (bit(state) & 63) & 1)) return -1;
    const Slot& slot = table_[slot_of(state)];
    return slot.frame == now_ ? slot.token : -1;
  }

 private:
  struct Slot {
    int32_t state, token;
    uint32_t frame = 0;
  };

  static uint32_t bit(int32_t state) { return (static_cast<uint32_t>(state) * 2654435769u) >> 16; }

  size_t slot_of(int32_t state) const {
    size_t index = (static_cast<uint32_t>(state) * 2654435769u) >> shift_;
    while (table_[index].frame == now_ && table_[index].state != state) index = (index + 1) & (table_.size() - 1);
    return index;
  }

  void grow() {
    std::vector<Slot> old(2 * table_.size());
    old.swap(table_);
    --shift_;
    for (const Slot& slot : old)
      if (slot.frame == now_) table_[slot_of(slot.state)] = slot;
  }

  void clear() {
    for (Slot& slot : table_) slot.frame = 0;
    now_ = 1;
  }

  int shift_ = 32 - 12;
  std::vector<Slot> table_ = std::vector<Slot>(1 << 12);
  std::vector<uint64_t> seen_ = std::vector<uint64_t>(1 << 10);  // one bit for each 16-bit hash
  uint32_t now_ = 0;
  size_t used_ = 0;
};
