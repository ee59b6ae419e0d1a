#include "linalg/outer.hpp"

#include <algorithm>

#include "linalg/pick.hpp"

namespace nettrim {
namespace {

namespace simd = Eigen::internal;

// Columns of a tile of sums, which registers hold while rows pass by.
constexpr Index kColumns = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 8 : 4, kFewColumns = 2;

constexpr Index pieces(Index size, Index piece) { return (size + piece - 1) / piece; }

// Of a panel of two packets and some columns of another, over so many rows. Registers hold the
// sums.
template <Index Columns, class G>
void sum_products(const G* left, const G* right, Index rows, G* sums) {
  using Packet = typename simd::packet_traits<G>::type;
  constexpr Index kLanes = simd::packet_traits<G>::size, kPanel = 2 * kLanes;
  Packet first[Columns], second[Columns];
  for (Index j = 0; j < Columns; ++j) first[j] = second[j] = simd::pset1<Packet>(G(0));
  for (Index k = 0; k < rows; ++k, left += kPanel, right += kPanel) {
    const Packet x = simd::pload<Packet>(left), y = simd::pload<Packet>(left + kLanes);
    for (Index j = 0; j < Columns; ++j) {
      const Packet factor = simd::pset1<Packet>(right[j]);
      first[j] = simd::pmadd(x, factor, first[j]);
      second[j] = simd::pmadd(y, factor, second[j]);
    }
  }
  for (Index j = 0; j < Columns; ++j) {
    simd::pstore(sums + j * kPanel, first[j]);
    simd::pstore(sums + j * kPanel + kLanes, second[j]);
  }
}

}  // namespace

template <class G>
OuterProducts<G>::OuterProducts(Index most_entries)
    : row_(Matrix<G>::Zero(most_entries + 2 * kPanel + kPickedBeyond, 1)),
      panels_(Matrix<G>::Zero(kPanel * kRows + kApart, pieces(most_entries, kPanel) + 1)) {}

template <class G>
void OuterProducts<G>::begin(Index known, Index fresh) {
  known_ = known;
  fresh_ = fresh;
  known_panels_ = pieces(known, kPanel);
  all_panels_ = known_panels_ + pieces(fresh, kPanel);
  count_ = 0;
}

template <class G>
void OuterProducts<G>::push() {
  for (Index panel = 0; panel < all_panels_; ++panel) {
    std::copy_n(row_.data() + panel * kPanel, kPanel, panels_.col(panel).data() + count_ * kPanel);
  }
  ++count_;
}

template <class G>
template <Index Columns>
void OuterProducts<G>::add_tile(Index panel, Index column, double weight,
                                Matrix<double>& out) const {
  Eigen::Matrix<G, kPanel, Columns> tile;
  const G* const right = panels_.col(known_panels_ + column / kPanel).data() + column % kPanel;
  sum_products<Columns>(panels_.col(panel).data(), right, count_, tile.data());
  const bool is_known = panel < known_panels_;
  const Index begin = is_known ? panel * kPanel : known_ + (panel - known_panels_) * kPanel;
  const Index height = std::min(kPanel, (is_known ? known_ : out.rows()) - begin);
  const Index width = std::min(Columns, fresh_ - column);
  out.block(begin, column, height, width) +=
      weight * tile.topLeftCorner(height, width).template cast<double>();
}

template <class G>
void OuterProducts<G>::add_to(Matrix<double>& out, double weight) {
  if (count_ == 0) return;
  for (Index panel = 0; panel < all_panels_; ++panel) {
    const Index below = (panel - known_panels_ + 1) * kPanel;
    const Index columns = panel < known_panels_ ? fresh_ : std::min(fresh_, below);
    Index j = 0;
    for (; columns - j > kColumns / 2; j += kColumns) add_tile<kColumns>(panel, j, weight, out);
    for (; j < columns; j += kFewColumns) add_tile<kFewColumns>(panel, j, weight, out);
  }
  count_ = 0;
}

template class OuterProducts<float>;
template class OuterProducts<double>;

}  // namespace nettrim
