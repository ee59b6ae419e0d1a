#include "layer/newton/working_gram.hpp"

#include <algorithm>

#include "linalg/factor.hpp"

namespace nettrim::layer {
namespace {

// Samples of a product, and of a block that they are gathered from: the fewer, the better the
// caches hold them; the more, the less often entries are added to. Multiples of 64.
constexpr Index kSamplesAtOnce = 768, kSamplesPerBlock = 3072;

// Time to gather an entry of X from where it lies, over that to copy one.
constexpr double kCostOfGathering = 4;

// Of 64 samples, one in `stride`: those of a larger stride are among those of a smaller one, and
// their places differ from one word to the next, for data may be periodic.
std::uint64_t one_in(Index stride, Index word) {
  std::uint64_t bits = 1;
  for (Index step = 32; step >= stride; step /= 2) bits |= bits << step;
  const auto turn = static_cast<int>((29 * static_cast<std::uint64_t>(word)) % 64);
  return (bits << turn) | (bits >> ((64 - turn) % 64));
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
  if (a.estimate != nullptr) {
    for (Index j = 0; j < size; ++j) {
      for (Index i = j + 1; i < size; ++i) {
        a.entries(i, j) = (*a.estimate)(i, j) / static_cast<double>(a.stride);
      }
    }
  }
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
  const Index stride = common_stride(asked);
  const bool shared = shares_samples(asked, stride);
  const auto add = [&](GramColumns& a, Index count) {
    const auto all = gathered.topLeftCorner(a.entries.rows(), count);
    const auto fresh = all.bottomRows(a.entries.cols());
    auto out = products.topLeftCorner(a.entries.rows(), a.entries.cols());
    out.setZero();
    add_product(all.topRows(a.known), fresh.transpose(), out.topRows(a.known));
    add_gram(fresh, out.bottomRows(a.entries.cols()));
    const auto each = static_cast<double>(a.estimate != nullptr ? 1 : a.stride);
    const double weight = is_difference(a) ? pull_ - 1 : (1 - pull_) * each;
    a.entries.topRows(a.known) += weight * out.topRows(a.known).template cast<double>();
    for (Index j = 0; j < out.cols(); ++j) {
      const Index below = out.rows() - a.known - j;
      a.entries.col(j).tail(below) += weight * out.col(j).tail(below).template cast<double>();
    }
  };
  for (Index first = 0; first < p_.n_samples(); first += kSamplesPerBlock) {
    const Range block = {first, std::min(kSamplesPerBlock, p_.n_samples() - first)};
    if (shared) write_X(block, stride, X);
    for (GramColumns& a : asked) {
      Index count = 0;
      const auto visit = [&](Index sample) {
        G* const out = gathered.col(count).data();
        if (shared) {
          const G* const x = X.col(sample - first).data();
          for (std::size_t i = 0; i < a.features->size(); ++i) out[i] = x[(*a.features)[i]];
        } else {
          gather(sample, *a.features, out);
        }
        if (++count < kSamplesAtOnce) return;
        add(a, count);
        count = 0;
      };
      for (Index word = first / 64; 64 * word < first + block.size; ++word) {
        const std::uint64_t bits = chosen(a, word);
        for (Index k = 0; k < 64; ++k) {
          if (((bits >> k) & 1) != 0) visit(64 * word + k);
        }
      }
      if (count > 0) add(a, count);
    }
  }
}

// Which samples of a word count.
template <class S>
std::uint64_t WorkingGram<S>::chosen(const GramColumns& a, Index word) const {
  const std::uint64_t active = bits_(word, a.output);
  if (is_difference(a)) {
    const Index left = p_.n_samples() - 64 * word;
    return ~active & (left < 64 ? (std::uint64_t(1) << left) - 1 : ~std::uint64_t(0));
  }
  if (a.stride == 1) return active;
  const std::uint64_t some = one_in(a.stride, word);
  return active & (a.estimate != nullptr ? ~some : some);
}

// One in so many samples is asked for.
template <class S>
Index WorkingGram<S>::common_stride(const std::vector<GramColumns>& asked) const {
  Index least = kLargestStride;
  for (const GramColumns& a : asked) least = std::min(least, a.estimate != nullptr ? 1 : a.stride);
  return least;
}

// Those of a block, each where it is in the block.
template <class S>
template <class G>
void WorkingGram<S>::write_X(Range block, Index stride, Matrix<G>& out) const {
  if (stride == 1) return p_.write_X(block, out);
  out.resize(p_.n_features(), block.size);
  for (Index k = 0; k < block.size; ++k) {
    const Index sample = block.begin + k;
    if (((one_in(stride, sample / 64) >> (sample % 64)) & 1) == 0) continue;
    G* const x = out.col(k).data();
    for (Index j = 0; j < p_.n_features(); ++j) x[j] = static_cast<G>(p_.x_scale * p_.X(sample, j));
  }
}

// Whether all that is gathered is more than a copy of X, which is read in order.
template <class S>
bool WorkingGram<S>::shares_samples(const std::vector<GramColumns>& asked, Index stride) const {
  double gathered = 0;
  for (const GramColumns& a : asked) {
    const Index samples = is_difference(a) ? p_.n_samples() - active_samples(a.output)
                                           : active_samples(a.output) / a.stride;
    gathered += static_cast<double>(samples) * static_cast<double>(a.features->size());
  }
  const auto copied = static_cast<double>(p_.n_samples() / stride * p_.n_features());
  return kCostOfGathering * gathered > copied;
}

// Of one sample, where few of them count.
template <class S>
template <class G>
void WorkingGram<S>::gather(Index sample, const std::vector<Index>& features, G* out) const {
  for (const Index j : features) *out++ = static_cast<G>(p_.x_scale * p_.X(sample, j));
}

template class WorkingGram<float>;
template class WorkingGram<double>;

}  // namespace nettrim::layer
