// Sums of outer products of short rows that are gathered one by one, for which to copy and pack
// them would take as long as the products.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// Of rows [r_k, f_k], sum_k [r_k, f_k] f_k'. A row is written at `known()` and `fresh()`, which
// have room for kPickedBeyond entries more, and pushed; a few rows at a time are added to the sums.
template <class G>
class OuterProducts {
 public:
  explicit OuterProducts(Index most_entries);

  void begin(Index known, Index fresh);
  G* known() { return row_.data(); }
  G* fresh() { return row_.data() + known_panels_ * kPanel; }
  void push();
  bool full() const { return count_ == kRows; }
  // out += weight times the sum of what was pushed, which is forgotten. Of the fresh entries among
  // each other the lower triangle counts, and what is above it may be anything. Sums are taken in
  // G, and added to `out` in double.
  void add_to(Matrix<double>& out, double weight);

 private:
  static constexpr Index kRows = 320;
  // Panels are so many entries longer: else all would lie in the same places of a cache.
  static constexpr Index kApart = 64 / sizeof(G);
  static constexpr Index kPanel = 2 * Eigen::internal::packet_traits<G>::size;
  template <Index Columns>
  void add_tile(Index panel, Index column, double weight, Matrix<double>& out) const;

  // Entries of all rows in panels of so many next to each other, those of one row after those of
  // another.
  Matrix<G> row_, panels_;
  Index known_ = 0, fresh_ = 0, known_panels_ = 0, all_panels_ = 0, count_ = 0;
};

}  // namespace nettrim
