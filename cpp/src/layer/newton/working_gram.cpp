#include "layer/newton/working_gram.hpp"

#include <algorithm>
#include <numeric>

#include "linalg/factor.hpp"
#include "linalg/pick.hpp"

namespace nettrim::layer {
namespace {

// Gram matrices of all samples that those of mostly active outputs are to spare, where they are
// taken off the whole: it is of all features, and in double precision.
constexpr Index kWorthWhole = 2;

// Samples of a block of X, which the caches hold while all outputs gather from it.
constexpr Index kSamplesPerBlock = 1280, kSamplesPerProduct = 1024;

// Time to gather an entry of X from where it lies, over that to copy one.
constexpr double kCostOfGathering = 4;
// Times to pick an entry of X out of a block and to multiply it, over that of a multiplication in a
// product of whole blocks.
constexpr double kCostOfPicking = 40, kCostOfMultiplying = 1.5;

static_assert(kSamplesPerBlock % kWord == 0 && kSamplesPerProduct % kWord == 0);

// Of 64 samples, one in `stride`, a bit each: those of a larger stride are among those of a smaller
// one, and their places differ from one 64 to the next, for data may be periodic.
std::uint64_t one_in(Index stride, Index word) {
  std::uint64_t chosen = 0;
  const Index first = (29 * word) % stride;
  for (Index bit = first; bit < kWord; bit += stride) chosen |= std::uint64_t(1) << bit;
  return chosen;
}

// body(bit) for every bit that is set.
template <class Body>
void for_each_bit(std::uint64_t bits, Body&& body) {
  for (; bits != 0; bits &= bits - 1) body(count_bits((bits & -bits) - 1));
}

// body(word, bits) for every word of a block, with the bits of one in `stride` samples.
template <class Body>
void for_each_word(Range block, Index stride, Body&& body) {
  const Index end = block.begin + block.size;
  for (Index word = block.begin / kWord; word * kWord < end; ++word) {
    const Index beyond = std::max((word + 1) * kWord - end, Index(0));
    body(word, one_in(stride, word) & (~std::uint64_t(0) >> beyond));
  }
}

std::vector<Index> samples_of(Range block, Index stride) {
  std::vector<Index> samples;
  for_each_word(block, stride, [&](Index word, std::uint64_t bits) {
    for_each_bit(bits, [&](Index bit) { samples.push_back(word * kWord + bit); });
  });
  return samples;
}

std::vector<Index> ascending(const GramColumns& a) {
  std::vector<Index> order(a.features->size());
  std::iota(order.begin(), order.end(), Index(0));
  const auto earlier = [&](Index i, Index j) {
    return (*a.features)[static_cast<std::size_t>(i)] < (*a.features)[static_cast<std::size_t>(j)];
  };
  std::sort(order.begin(), order.begin() + a.known, earlier);
  std::sort(order.begin() + a.known, order.end(), earlier);
  return order;
}

std::vector<Index> features_in_order(const GramColumns& a) {
  std::vector<Index> features;
  for (const Index place : a.order) {
    features.push_back((*a.features)[static_cast<std::size_t>(place)]);
  }
  return features;
}

std::vector<Index> fresh_in_order(const GramColumns& a) {
  const std::vector<Index> features = features_in_order(a);
  return {features.begin() + a.known, features.end()};
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
      bits_(Matrix<std::uint64_t>::Zero(p.n_outputs(), (p.n_samples() + kWord - 1) / kWord)),
      counts_(static_cast<std::size_t>(p.n_outputs()), 0) {
  p_.with_entries([&](auto entry) {
    parallel_for(bits_.cols(), p_.threads, [&](Index word, int) {
      const Index last = std::min((word + 1) * kWord, p_.n_samples());
      for (Index sample = word * kWord; sample < last; ++sample) {
        for (Index output = 0; output < p_.n_outputs(); ++output) {
          const std::uint64_t active = entry(sample * p_.n_outputs() + output).active ? 1 : 0;
          bits_(output, word) |= active << (sample % kWord);
        }
      }
    });
  });
  for (Index word = 0; word < bits_.cols(); ++word) {
    for (Index output = 0; output < p_.n_outputs(); ++output) {
      counts_[static_cast<std::size_t>(output)] += count_bits(bits_(output, word));
    }
  }
  if (p_.regularisation) pull_ = p_.regularisation->pull;
  Index spared = 0;
  for (const Index count : counts_) spared += std::max(2 * count - p_.n_samples(), Index(0));
  if (pull_ > 0 || spared > kWorthWhole * p_.n_samples()) whole_ = whole_gram(p_);
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
  std::vector<GramColumns*> of_many, of_few;
  for (GramColumns& a : asked) {
    begin(a);
    (has_few_fresh(a) ? of_few : of_many).push_back(&a);
  }
  if (!shares_samples(of_few, 1)) {
    of_many.insert(of_many.end(), of_few.begin(), of_few.end());
    of_few.clear();
  }
  if (kept_ == Precision::float32) {
    add_samples<float>(of_many);
    add_products<float>(of_few);
  } else {
    add_samples<double>(of_many);
    add_products<double>(of_few);
  }
  for (GramColumns& a : asked) finish(a);
}

// Whether the products of all features and samples with the fresh columns are less work than to
// pick those that count.
template <class S>
bool WorkingGram<S>::has_few_fresh(const GramColumns& a) const {
  if (a.stride > 1) return false;
  const auto fresh = static_cast<double>(a.entries.cols());
  const auto all = static_cast<double>(p_.n_samples() * p_.n_features());
  const auto picked = static_cast<double>(counted_samples(a) * a.entries.rows());
  return all * fresh < picked * (kCostOfPicking + kCostOfMultiplying * fresh);
}

template <class S>
void WorkingGram<S>::begin(GramColumns& a) const {
  const auto& features = *a.features;
  const auto size = static_cast<Index>(features.size());
  a.order = ascending(a);
  a.entries.setZero(size, size - a.known);
  if (a.estimate != nullptr) {
    for (Index j = 0; j < size; ++j) {
      for (Index i = j + 1; i < size; ++i) {
        a.entries(i, j) = (*a.estimate)(a.order[static_cast<std::size_t>(i)],
                                        a.order[static_cast<std::size_t>(j)]) /
                          static_cast<double>(a.stride);
      }
    }
  }
  const double share = is_difference(a) ? 1 : pull_;  // of all samples
  if (share == 0) return;
  const std::vector<Index> ordered = features_in_order(a);
  for (Index j = 0; j < a.entries.cols(); ++j) {
    const Index f = ordered[static_cast<std::size_t>(a.known + j)];
    for (Index i = 0; i < size; ++i) {
      a.entries(i, j) = share * whole_(ordered[static_cast<std::size_t>(i)], f);
    }
  }
}

// The fresh features among each other, from their lower triangle; and the order of the features.
template <class S>
void WorkingGram<S>::finish(GramColumns& a) const {
  auto square = a.entries.bottomRows(a.entries.cols());
  square.template triangularView<Eigen::StrictlyUpper>() = square.transpose();
  Matrix<double> sums(a.entries.rows(), a.entries.cols());
  sums.swap(a.entries);
  for (Index j = 0; j < sums.cols(); ++j) {
    double* const out =
        a.entries.col(a.order[static_cast<std::size_t>(a.known + j)] - a.known).data();
    for (Index i = 0; i < sums.rows(); ++i) out[a.order[static_cast<std::size_t>(i)]] = sums(i, j);
  }
  auto fresh_square = a.entries.bottomRows(a.entries.cols());
  if (p_.regularisation) {
    const std::vector<Index> fresh(a.features->begin() + a.known, a.features->end());
    fresh_square.diagonal() += p_.regularisation->ridges(fresh);
  }
  if (a.stride == 1) return;
  for (Index j = 0; j < fresh_square.cols(); ++j) {
    const Index f = (*a.features)[static_cast<std::size_t>(a.known + j)];
    fresh_square(j, j) = std::max(fresh_square(j, j), squares_(a.output, f));
  }
}

// entries += weight * X_all X_fresh' over the samples that count; sums of few samples in the
// precision that is kept of them, and all of them in double.
template <class S>
template <class G>
void WorkingGram<S>::add_samples(const std::vector<GramColumns*>& asked) const {
  if (asked.empty()) return;
  Index most = 0;
  for (const GramColumns* a : asked) most = std::max(most, a->entries.rows());
  OuterProducts<G> products(most);
  Matrix<G> X;
  const Index stride = common_stride(asked);
  const bool shared = shares_samples(asked, stride);
  std::vector<std::vector<Index>> features;
  std::vector<std::pair<Picker<G>, Picker<G>>> pickers;  // of known and fresh features
  std::vector<Index> places;                             // of the samples that count
  for (const GramColumns* a : asked) {
    features.push_back(features_in_order(*a));
    const auto begin = features.back().begin(), fresh = begin + a->known;
    pickers.emplace_back(Picker<G>({begin, fresh}), Picker<G>({fresh, features.back().end()}));
  }
  for (Index first = 0; first < p_.n_samples(); first += stride * kSamplesPerBlock) {
    const Range block = {first, std::min(stride * kSamplesPerBlock, p_.n_samples() - first)};
    const std::vector<Index> samples = samples_of(block, stride);
    if (shared) write_X(samples, X);
    for (std::size_t m = 0; m < asked.size(); ++m) {
      GramColumns& a = *asked[m];
      const auto& [pick_known, pick_fresh] = pickers[m];
      const double weight = weight_of_samples(a);
      products.begin(a.known, a.entries.cols());
      find_places(a, block, stride, places);
      for (std::size_t k = 0; k < places.size(); ++k) {
        if (shared) {
          if (k + 1 < places.size()) fetch_ahead(X.col(places[k + 1]).data(), X.rows());
          const G* const x = X.col(places[k]).data();
          pick_known.pick(x, products.known());
          pick_fresh.pick(x, products.fresh());
        } else {
          gather(samples[static_cast<std::size_t>(places[k])], features[m], a.known, products);
        }
        products.push();
        if (products.full()) products.add_to(a.entries, weight);
      }
      products.add_to(a.entries, weight);
    }
  }
}

// The same where few columns are fresh: their samples that count, by all of X at once.
template <class S>
template <class G>
void WorkingGram<S>::add_products(const std::vector<GramColumns*>& asked) const {
  if (asked.empty()) return;
  Index fresh = 0;
  std::vector<std::vector<Index>> features;  // the fresh ones
  for (const GramColumns* a : asked) {
    fresh += a->entries.cols();
    features.push_back(fresh_in_order(*a));
  }
  Matrix<double> sums = Matrix<double>::Zero(p_.n_features(), fresh);
  Matrix<G> X, counted;
  std::vector<Index> places;
  for (Index first = 0; first < p_.n_samples(); first += kSamplesPerProduct) {
    const Range block = {first, std::min(kSamplesPerProduct, p_.n_samples() - first)};
    X.resize(p_.n_features(), block.size);
    p_.write_X(block, X);
    counted.setZero(fresh, block.size);
    G* row = counted.data();
    for (std::size_t m = 0; m < asked.size(); ++m) {
      find_places(*asked[m], block, 1, places);
      for (const Index k : places) {
        G* out = row + k * fresh;
        for (const Index feature : features[m]) *out++ = X(feature, k);
      }
      row += features[m].size();
    }
    sums += product(X, counted.transpose()).template cast<double>();
  }
  Index begin = 0;
  for (GramColumns* a : asked) {
    const auto columns = Eigen::seqN(begin, a->entries.cols());
    a->entries += weight_of_samples(*a) * sums(features_in_order(*a), columns);
    begin += a->entries.cols();
  }
}

template <class S>
double WorkingGram<S>::weight_of_samples(const GramColumns& a) const {
  if (is_difference(a)) return pull_ - 1;
  return (1 - pull_) * static_cast<double>(a.estimate != nullptr ? 1 : a.stride);
}

template <class S>
Index WorkingGram<S>::counted_samples(const GramColumns& a) const {
  const Index active = active_samples(a.output);
  return is_difference(a) ? p_.n_samples() - active : active / a.stride;
}

// Of the samples of a word, those that count.
template <class S>
std::uint64_t WorkingGram<S>::counted(const GramColumns& a, Index word) const {
  const std::uint64_t active = bits_(a.output, word);
  if (is_difference(a)) return ~active;
  if (a.stride == 1) return active;
  const std::uint64_t chosen = one_in(a.stride, word);
  return active & (a.estimate != nullptr ? ~chosen : chosen);
}

// Of one in `stride` samples of a block, the places of those that count.
template <class S>
void WorkingGram<S>::find_places(const GramColumns& a, Range block, Index stride,
                                 std::vector<Index>& places) const {
  places.clear();
  Index before = 0;
  for_each_word(block, stride, [&](Index word, std::uint64_t there) {
    for_each_bit(counted(a, word) & there, [&](Index bit) {
      const std::uint64_t earlier = (std::uint64_t(1) << bit) - 1;
      places.push_back(before + count_bits(there & earlier));
    });
    before += count_bits(there);
  });
}

// One in so many samples is asked for.
template <class S>
Index WorkingGram<S>::common_stride(const std::vector<GramColumns*>& asked) const {
  Index least = kLargestStride;
  for (const GramColumns* a : asked) {
    least = std::min(least, a->estimate != nullptr ? 1 : a->stride);
  }
  return least;
}

// What picks from it may read beyond the last sample.
template <class S>
template <class G>
void WorkingGram<S>::write_X(const std::vector<Index>& samples, Matrix<G>& out) const {
  const auto count = static_cast<Index>(samples.size());
  out.resize(p_.n_features(), count + kPickedBeyond / p_.n_features() + 1);
  out.rightCols(out.cols() - count).setZero();
  if (count > 0 && samples.back() - samples.front() == count - 1) {
    return p_.write_X({samples.front(), count}, out.leftCols(count));
  }
  for (Index k = 0; k < count; ++k) {
    const Index sample = samples[static_cast<std::size_t>(k)];
    for (Index j = 0; j < out.rows(); ++j) {
      out(j, k) = static_cast<G>(p_.x_scale * p_.X(sample, j));
    }
  }
}

// Whether all that is gathered is more than a copy of X, which is read in order.
template <class S>
bool WorkingGram<S>::shares_samples(const std::vector<GramColumns*>& asked, Index stride) const {
  double gathered = 0;
  for (const GramColumns* a : asked) {
    gathered += static_cast<double>(counted_samples(*a) * a->entries.rows());
  }
  const auto copied = static_cast<double>(p_.n_samples() / stride * p_.n_features());
  return kCostOfGathering * gathered > copied;
}

// Of one sample, where few of them count.
template <class S>
template <class G>
void WorkingGram<S>::gather(Index sample, const std::vector<Index>& features, Index known,
                            OuterProducts<G>& products) const {
  for (std::size_t k = 0; k < features.size(); ++k) {
    const auto place = static_cast<Index>(k);
    G* const out = place < known ? products.known() + place : products.fresh() + (place - known);
    *out = static_cast<G>(p_.x_scale * p_.X(sample, features[k]));
  }
}

template class WorkingGram<float>;
template class WorkingGram<double>;

}  // namespace nettrim::layer
