#include "layer/newton/working_gram.hpp"

#include <algorithm>

#include "linalg/factor.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kSamplesAtOnce = 192;  // gathered features of so many samples stay in cache

// The fresh features among each other, from their lower triangle.
void mirror(Index known, Matrix<double>& side) {
  auto square = side.bottomRows(side.rows() - known);
  square.triangularView<Eigen::StrictlyUpper>() = square.transpose();
}

template <class S>
Matrix<double> whole_gram(const UnitProgram<S>& p) {
  Matrix<double> gram =
      gram_of(p.n_features(), p.samples, p.threads, [&](Range r) -> Matrix<double> {
        return p.X(r).template cast<double>() * double(p.x_scale);
      });
  gram.template triangularView<Eigen::StrictlyUpper>() = gram.transpose();
  return gram;
}

}  // namespace

template <class S>
WorkingGram<S>::WorkingGram(const UnitProgram<S>& p, Precision kept)
    : p_(p),
      kept_(kept),
      bits_(Matrix<std::uint64_t>::Zero((p.n_samples() + 63) / 64, p.n_outputs())),
      counts_(static_cast<std::size_t>(p.n_outputs()), 0) {
  p_.with_entries([&](auto entry) {
    for (Index i = 0, sample = 0; sample < p_.n_samples(); ++sample) {
      for (Index output = 0; output < p_.n_outputs(); ++output, ++i) {
        if (!entry(i).active) continue;
        bits_(sample / 64, output) |= std::uint64_t(1) << (sample % 64);
        ++counts_[static_cast<std::size_t>(output)];
      }
    }
  });
  for (const Index count : counts_) {
    if (2 * count > p_.n_samples() && whole_.size() == 0) whole_ = whole_gram(p_);
  }
}

template <class S>
Matrix<double> WorkingGram<S>::columns(Index output, const std::vector<Index>& features,
                                       Index known) const {
  const auto size = static_cast<Index>(features.size());
  const Index fresh = size - known;
  Matrix<double> side(size, fresh);
  const auto add = [&](bool active, double sign) {
    if (kept_ == Precision::float32) {
      add_samples<float>(output, active, features, known, sign, 1, side);
    } else {
      add_samples<double>(output, active, features, known, sign, 1, side);
    }
  };
  const bool mostly = 2 * active_samples(output) > p_.n_samples();
  if (mostly) {
    for (Index j = 0; j < fresh; ++j) {
      const Index f = features[static_cast<std::size_t>(known + j)];
      for (Index i = 0; i < size; ++i)
        side(i, j) = whole_(features[static_cast<std::size_t>(i)], f);
    }
    add(false, -1);
  } else {
    side.setZero();
    add(true, 1);
  }
  mirror(known, side);
  return side;
}

template <class S>
Matrix<double> WorkingGram<S>::estimated_columns(Index output, const std::vector<Index>& features,
                                                 Index known, Index stride) const {
  const auto size = static_cast<Index>(features.size());
  Matrix<double> side = Matrix<double>::Zero(size, size - known);
  add_samples<float>(output, true, features, known, static_cast<double>(stride), stride, side);
  mirror(known, side);
  for (Index j = 0; j < side.cols(); ++j) {
    double& entry = side(known + j, j);
    entry = std::max(entry, squares_(output, features[static_cast<std::size_t>(known + j)]));
  }
  return side;
}

template <class S>
void WorkingGram<S>::prepare_estimates() {
  const Index outputs = p_.n_outputs();
  const Matrix<double> zero = Matrix<double>::Zero(outputs, p_.n_features());
  squares_ = parallel_total(p_.samples, p_.threads, zero, [&](Range r, Matrix<double>& sum) {
    const Matrix<float> squares = (p_.x_scale * p_.X(r)).cwiseAbs2().template cast<float>();
    Matrix<float> chosen(outputs, r.size);
    for (Index k = 0; k < chosen.size(); ++k) {
      chosen.data()[k] = active(k % outputs, r.begin + k / outputs) ? 1.0F : 0.0F;
    }
    sum += product(chosen, squares.transpose()).template cast<double>();
  });
}

// side += sign * X_all X_fresh' over the samples whose entry is `active` or not, one in `stride` of
// them; products of few samples in the precision that is kept of them, and their sum in double. Of
// the fresh features among each other the lower triangle is formed.
template <class S>
template <class G>
void WorkingGram<S>::add_samples(Index output, bool active, const std::vector<Index>& features,
                                 Index known, double sign, Index stride,
                                 Matrix<double>& side) const {
  const auto size = static_cast<Index>(features.size()), fresh = size - known;
  Matrix<G> gathered(size, kSamplesAtOnce), products(size, fresh);
  Index count = 0, passed = 0;
  const auto flush = [&] {
    const auto all = gathered.leftCols(count);
    products.setZero();
    add_product(all.topRows(known), all.bottomRows(fresh).transpose(), products.topRows(known));
    add_gram(all.bottomRows(fresh), products.bottomRows(fresh));
    side += sign * products.template cast<double>();
    count = 0;
  };
  for (Index word = 0; word < bits_.rows(); ++word) {
    const Index first = 64 * word, samples = std::min<Index>(64, p_.n_samples() - first);
    std::uint64_t chosen = active ? bits_(word, output) : ~bits_(word, output);
    for (Index k = 0; k < samples; ++k) {
      if (((chosen >> k) & 1) == 0 || passed++ % stride != 0) continue;
      const S* const x = p_.given.X + (first + k) * p_.n_features();
      G* const out = gathered.col(count).data();
      for (Index i = 0; i < size; ++i) {
        out[i] = static_cast<G>(p_.x_scale * x[features[static_cast<std::size_t>(i)]]);
      }
      if (++count == kSamplesAtOnce) flush();
    }
  }
  if (count > 0) flush();
}

template class WorkingGram<float>;
template class WorkingGram<double>;

}  // namespace nettrim::layer
