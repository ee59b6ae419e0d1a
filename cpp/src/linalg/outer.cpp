#include "linalg/outer.hpp"

#include <algorithm>

#include "linalg/pick.hpp"

namespace nettrim {
namespace {

namespace simd = Eigen::internal;

// Columns of sums that registers hold while rows pass by, and rows of two panels that the first
// cache holds while the columns of one meet the other.
constexpr Index kColumns = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS >= 32 ? 8 : 4, kFewColumns = 2;
constexpr Index kNearRows = 128;

constexpr Index pieces(Index size, Index piece) { return (size + piece - 1) / piece; }

// sums += left right' of a panel of two packets and some columns of another, over so many rows.
template <Index Columns, class G>
void sum_products(const G* left, const G* right, Index rows, G* sums) {
  using Packet = typename simd::packet_traits<G>::type;
  constexpr Index kLanes = simd::packet_traits<G>::size, kPanel = 2 * kLanes;
  Packet first[Columns], second[Columns];
  for (Index j = 0; j < Columns; ++j) {
    first[j] = simd::pload<Packet>(sums + j * kPanel);
    second[j] = simd::pload<Packet>(sums + j * kPanel + kLanes);
  }
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

// Of a panel and some columns of a fresh one.
template <class G>
void OuterProducts<G>::add_tile(Index panel, Index fresh_panel, double weight,
                                Matrix<double>& out) const {
  Eigen::Matrix<G, kPanel, kPanel> tile = Eigen::Matrix<G, kPanel, kPanel>::Zero();
  const Index column = fresh_panel * kPanel, width = std::min(kPanel, fresh_ - column);
  const G* left = panels_.col(panel).data();
  const G* right = panels_.col(known_panels_ + fresh_panel).data();
  for (Index k = 0; k < count_; k += kNearRows) {
    const Index rows = std::min(kNearRows, count_ - k);
    Index j = 0;
    for (; width - j > kColumns / 2; j += kColumns) {
      sum_products<kColumns>(left + k * kPanel, right + k * kPanel + j, rows, tile.col(j).data());
    }
    for (; j < width; j += kFewColumns) {
      sum_products<kFewColumns>(left + k * kPanel, right + k * kPanel + j, rows,
                                tile.col(j).data());
    }
  }
  const bool is_known = panel < known_panels_;
  const Index begin = is_known ? panel * kPanel : known_ + (panel - known_panels_) * kPanel;
  const Index height = std::min(kPanel, (is_known ? known_ : out.rows()) - begin);
  out.block(begin, column, height, width) +=
      weight * tile.topLeftCorner(height, width).template cast<double>();
}

template <class G>
void OuterProducts<G>::add_to(Matrix<double>& out, double weight) {
  if (count_ == 0) return;
  for (Index panel = 0; panel < all_panels_; ++panel) {
    const Index own =
        panel < known_panels_ ? all_panels_ - known_panels_ - 1 : panel - known_panels_;
    for (Index k = 0; k <= own; ++k) add_tile(panel, k, weight, out);
  }
  count_ = 0;
}

template class OuterProducts<float>;
template class OuterProducts<double>;

}  // namespace nettrim
