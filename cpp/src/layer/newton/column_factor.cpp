#include <algorithm>

#include "layer/newton/column.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kColumnsAtOnce = 8;
// Up to this share of changed rows an update of the factor is cheaper than a new one.
constexpr double kUpdateShare = 0.15;
constexpr double kProximalWeightStep = 100;

}  // namespace

// Elements are working features and, after them, working rows.
bool Column::is_in(Index element) const {
  const auto n = static_cast<Index>(features_.size());
  return element < n ? guess_.sign[static_cast<std::size_t>(element)] != 0
                     : guess_.tight[static_cast<std::size_t>(element - n)] != 0;
}

// Brings the factor to the present guess: by updates, or anew.
bool Column::synchronise(ColumnWorkspace& work) {
  support_size_ = count_nonzeros(guess_.sign);
  tight_size_ = count_nonzeros(guess_.tight);
  if (work.order.empty()) return factor_anew(work);
  const auto n = static_cast<Index>(features_.size());
  Index in = 0, out = 0;  // elements that are to come, and to go
  const auto compare = [&](const auto& guess, const Index* place) {
    for (std::size_t k = 0; k < guess.size(); ++k) {
      in += guess[k] != 0 && place[k] < 0;
      out += guess[k] == 0 && place[k] >= 0;
    }
  };
  compare(guess_.sign, work.place.data());
  compare(guess_.tight, work.place.data() + n);
  const auto most =
      static_cast<Index>(kUpdateShare * static_cast<double>(support_size_ + tight_size_));
  if (in + out > most || work.factor.size() + in > work.factor.room()) return factor_anew(work);
  for (Index e = 0; out > 0; ++e) {
    Index& place = work.place[static_cast<std::size_t>(e)];
    if (place < 0 || is_in(e)) continue;
    if (!work.factor.remove(place)) return factor_anew(work);
    work.order[static_cast<std::size_t>(place)] = -1;
    place = -1;
    --out;
  }
  for (Index e = 0; in > 0; ++e) {
    if (work.place[static_cast<std::size_t>(e)] >= 0 || !is_in(e)) continue;
    if (!move_in(e, work)) return factor_anew(work);
    --in;
  }
  return true;
}

// False if the matrix of the guess is too near singular for any proximal weight.
bool Column::factor_anew(ColumnWorkspace& work) {
  while (!factor_guess(work)) {
    if (raise_proximal_weight(most_proximal_weight(gram_.precision()), work)) continue;
    work.order.clear();
    return false;
  }
  return true;
}

bool Column::factor_guess(ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  work.order.clear();
  work.place.assign(features_.size() + rows_.size(), -1);
  for (Index e = 0; e < n + static_cast<Index>(rows_.size()); ++e) {
    if (!is_in(e)) continue;
    work.place[static_cast<std::size_t>(e)] = static_cast<Index>(work.order.size());
    work.order.push_back(e);
  }
  const Index size = support_size_ + tight_size_;
  auto lower = work.factor.prepare(size, size + size / 8 + 16);
  // A few columns at a time: rows of the Gram matrix are read, columns are written.
  for (Index first = 0; first < support_size_; first += kColumnsAtOnce) {
    const Index last = std::min(first + kColumnsAtOnce, support_size_);
    for (Index i = first; i < size; ++i) {
      const Index e = work.order[static_cast<std::size_t>(i)];
      const auto copy = [&](const auto* entries) {
        for (Index j = first; j < std::min(last, i + 1); ++j) {
          lower(i, j) = static_cast<double>(entries[work.order[static_cast<std::size_t>(j)]]);
        }
      };
      if (e < n) {
        gram_.with_row(e, copy);
      } else {
        copy(work.values.col(e - n).data());
      }
    }
  }
  auto corner = lower.bottomRightCorner(tight_size_, tight_size_);
  corner.setZero();
  corner.diagonal().setConstant(-1 / rho_);
  lower.diagonal().head(support_size_).array() += proximal_weight_;
  return work.factor.factor(support_size_);
}

// False if it is as high as that already. The next factor is a new one.
bool Column::raise_proximal_weight(double most, ColumnWorkspace& work) {
  if (proximal_weight_ >= most) return false;
  proximal_weight_ *= kProximalWeightStep;
  work.order.clear();
  return true;
}

bool Column::move_in(Index element, ColumnWorkspace& work) {
  const auto n = static_cast<Index>(features_.size());
  const auto size = static_cast<Index>(work.order.size());
  if (work.entries.size() < size) work.entries.resize(2 * size);
  for (Index i = 0; i < size; ++i) {
    const Index other = work.order[static_cast<std::size_t>(i)];
    double value = 0;
    if (other >= 0 && element < n) {
      value = other < n ? gram_(other, element) : work.values(element, other - n);
    } else if (other >= 0 && other < n) {
      value = work.values(other, element - n);
    }
    work.entries[i] = value;
  }
  const double diagonal = element < n ? gram_(element, element) + proximal_weight_ : -1 / rho_;
  if (!work.factor.append(work.entries.head(size), diagonal, element < n)) return false;
  work.place[static_cast<std::size_t>(element)] = size;
  work.order.push_back(element);
  return true;
}

// Solves with the factor, right sides of features and of rows; the solution is zero at elements
// that are not in the guess.
void Column::respond(const Vector& of_features, const Vector& of_rows, Vector& weights,
                     Vector& multipliers, ColumnWorkspace& work) const {
  const auto n = static_cast<Index>(features_.size());
  const auto size = static_cast<Index>(work.order.size());
  if (work.rhs.size() < size) work.rhs.resize(2 * size);
  auto rhs = work.rhs.head(size);
  for (Index k = 0; k < size; ++k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    rhs[k] = e < 0 ? 0 : e < n ? of_features[e] : of_rows[e - n];
  }
  work.factor.solve(rhs);
  weights = Vector::Zero(n);
  multipliers = Vector::Zero(static_cast<Index>(rows_.size()));
  for (Index k = 0; k < size; ++k) {
    const Index e = work.order[static_cast<std::size_t>(k)];
    if (e >= n) {
      multipliers[e - n] = rhs[k];
    } else if (e >= 0) {
      weights[e] = rhs[k];
    }
  }
}

}  // namespace nettrim::layer
