#include "layer/newton/working_gram.hpp"

#include <algorithm>

#include "linalg/factor.hpp"

namespace nettrim::layer {
namespace {

// Gathered features of so many samples stay in a core's cache; blocks that they are gathered from,
// in the larger one. A multiple of 64.
constexpr Index kSamplesAtOnce = 192, kSamplesPerBlock = 768;

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
  if (p_.regularisation) pull_ = p_.regularisation->pull;
  const Index most = *std::max_element(counts_.begin(), counts_.end());
  if (pull_ > 0 || 2 * most > p_.n_samples()) whole_ = whole_gram(p_);
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

template <class S>
Matrix<double> WorkingGram<S>::columns(Index output, const std::vector<Index>& features,
                                       Index known) const {
  std::vector<GramColumns> asked = {{output, &features, known}};
  fill(asked);
  return std::move(asked.front().entries);
}

template <class S>
void WorkingGram<S>::fill(std::vector<GramColumns>& asked) const {
  if (asked.empty()) return;
  for (GramColumns& a : asked) begin(a);
  if (kept_ == Precision::float32) {
    add_samples<float>(asked);
  } else {
    add_samples<double>(asked);
  }
  for (GramColumns& a : asked) finish(a);
}

template <class S>
void WorkingGram<S>::begin(GramColumns& a) const {
  const auto& features = *a.features;
  const auto size = static_cast<Index>(features.size());
  a.entries.setZero(size, size - a.known);
  const double share = is_difference(a) ? 1 : pull_;  // of all samples
  if (share == 0) return;
  for (Index j = 0; j < a.entries.cols(); ++j) {
    const Index f = features[static_cast<std::size_t>(a.known + j)];
    for (Index i = 0; i < size; ++i) {
      a.entries(i, j) = share * whole_(features[static_cast<std::size_t>(i)], f);
    }
  }
}

// The fresh features among each other, from their lower triangle.
template <class S>
void WorkingGram<S>::finish(GramColumns& a) const {
  auto square = a.entries.bottomRows(a.entries.cols());
  square.template triangularView<Eigen::StrictlyUpper>() = square.transpose();
  if (p_.regularisation) {
    const std::vector<Index> fresh(a.features->begin() + a.known, a.features->end());
    square.diagonal() += p_.regularisation->ridges(fresh);
  }
  if (a.stride == 1) return;
  for (Index j = 0; j < square.cols(); ++j) {
    const Index f = (*a.features)[static_cast<std::size_t>(a.known + j)];
    square(j, j) = std::max(square(j, j), squares_(a.output, f));
  }
}

// entries += weight * X_all X_fresh' over the samples that count; products of few samples in the
// precision that is kept of them, and their sum in double.
template <class S>
template <class G>
void WorkingGram<S>::add_samples(std::vector<GramColumns>& asked) const {
  Index most = 0, most_fresh = 0;
  for (const GramColumns& a : asked) {
    most = std::max(most, a.entries.rows());
    most_fresh = std::max(most_fresh, a.entries.cols());
  }
  Matrix<G> X, gathered(most, kSamplesAtOnce), products(most, most_fresh);
  std::vector<Index> passed(asked.size(), 0);
  const bool shared =
      std::any_of(asked.begin(), asked.end(), [](const GramColumns& a) { return a.stride == 1; });
  const auto add = [&](GramColumns& a, Index count) {
    const auto all = gathered.topLeftCorner(a.entries.rows(), count);
    const auto fresh = all.bottomRows(a.entries.cols());
    auto out = products.topLeftCorner(a.entries.rows(), a.entries.cols());
    out.setZero();
    add_product(all.topRows(a.known), fresh.transpose(), out.topRows(a.known));
    add_gram(fresh, out.bottomRows(a.entries.cols()));
    const double weight =
        is_difference(a) ? pull_ - 1 : (1 - pull_) * static_cast<double>(a.stride);
    a.entries += weight * out.template cast<double>();
  };
  for (Index first = 0; first < p_.n_samples(); first += kSamplesPerBlock) {
    const Range block = {first, std::min(kSamplesPerBlock, p_.n_samples() - first)};
    if (shared) p_.write_X(block, X);
    for (std::size_t k = 0; k < asked.size(); ++k) {
      GramColumns& a = asked[k];
      Index count = 0;
      for_chosen(a, block, passed[k], [&](Index sample) {
        G* const out = gathered.col(count).data();
        if (a.stride > 1) {
          gather(block.begin + sample, *a.features, out);
        } else {
          const G* const x = X.col(sample).data();
          for (std::size_t i = 0; i < a.features->size(); ++i) out[i] = x[(*a.features)[i]];
        }
        if (++count < kSamplesAtOnce) return;
        add(a, count);
        count = 0;
      });
      if (count > 0) add(a, count);
    }
  }
}

// Of one sample, where few of them count.
template <class S>
template <class G>
void WorkingGram<S>::gather(Index sample, const std::vector<Index>& features, G* out) const {
  for (const Index j : features) *out++ = static_cast<G>(p_.x_scale * p_.X(sample, j));
}

// visit(place in the block) for the samples that count.
template <class S>
template <class Visit>
void WorkingGram<S>::for_chosen(const GramColumns& a, Range block, Index& passed,
                                Visit&& visit) const {
  for (Index first = 0; first < block.size; first += 64) {
    const std::uint64_t word = bits_((block.begin + first) / 64, a.output);
    const std::uint64_t chosen = is_difference(a) ? ~word : word;
    const Index samples = std::min<Index>(64, block.size - first);
    for (Index k = 0; k < samples; ++k) {
      if (((chosen >> k) & 1) != 0 && passed++ % a.stride == 0) visit(first + k);
    }
  }
}

template class WorkingGram<float>;
template class WorkingGram<double>;

}  // namespace nettrim::layer
