#include "quadratic/selection.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "linalg/parallel.hpp"

namespace nettrim::quadratic {
namespace {

constexpr Index kGrain = 16;  // features of a piece
constexpr int kHalf = 16;     // bits that are sorted at a time

using Histogram = Eigen::Matrix<Index, Eigen::Dynamic, 1>;

// Of non-negative floats the order of the bits is that of the numbers.
std::uint32_t bits_of_size(float value) {
  const float size = std::abs(value);
  std::uint32_t bits = 0;
  std::memcpy(&bits, &size, sizeof bits);
  return bits;
}

// What is above `bits` stays, and the first `ties` of what is equal.
struct Threshold {
  std::uint32_t bits = 0;
  Index ties = 0;
};

// From the largest bin down: in which one the count-th entry lies, and how many of that bin it
// takes.
Index descend(const Histogram& histogram, Index& count) {
  Index bin = histogram.size() - 1;
  while (histogram[bin] < count) count -= histogram[bin--];
  return bin;
}

}  // namespace

Selection::Selection(const BudgetPattern& pattern, Index features, Index budget, int threads)
    : pattern_(pattern), budget_(budget), threads_(threads) {
  for (Index i = 0; i < features; ++i) {
    if (!pattern.keep || !pattern.keep[i]) free_.push_back(i);
  }
}

void Selection::mark(const Matrix<float>& values, Mask& kept) const {
  kept.setOnes();
  if (pattern_.group > 0) mark_groups(values, kept);
  keep_largest(values, kept);
}

void Selection::mark_groups(const Matrix<float>& values, Mask& kept) const {
  const auto n = static_cast<Index>(free_.size()), group = pattern_.group;
  const Index groups = (n + group - 1) / group;
  parallel_over(cut(groups, kGrain, threads_), threads_, [&](Range r, int) {
    std::vector<std::pair<float, Index>> sizes;  // negative, with the feature
    for (Index g = r.begin; g < r.begin + r.size; ++g) {
      const Index size = std::min(group, n - g * group);
      if (size <= pattern_.most) continue;
      const Index* const features = free_.data() + g * group;
      sizes.resize(static_cast<std::size_t>(size));
      for (Index output = 0; output < values.rows(); ++output) {
        for (Index i = 0; i < size; ++i) {
          sizes[static_cast<std::size_t>(i)] = {-std::abs(values(output, features[i])),
                                                features[i]};
        }
        const auto rest = sizes.begin() + pattern_.most;
        std::nth_element(sizes.begin(), rest, sizes.end());
        for (auto out = rest; out != sizes.end(); ++out) kept(output, out->second) = 0;
      }
    }
  });
}

// The budget-th largest is found by its bits, half of them at a time.
void Selection::keep_largest(const Matrix<float>& values, Mask& kept) const {
  const auto pieces = cut(static_cast<Index>(free_.size()), kGrain, threads_);
  const auto for_candidates = [&](Range r, auto&& body) {
    for (Index k = r.begin; k < r.begin + r.size; ++k) {
      const Index feature = free_[static_cast<std::size_t>(k)];
      for (Index output = 0; output < values.rows(); ++output) {
        std::uint8_t& mark = kept(output, feature);
        if (mark) body(bits_of_size(values(output, feature)), mark);
      }
    }
  };
  const auto histogram = [&](auto&& bin_of) {
    const Histogram zero = Histogram::Zero(Index{1} << kHalf);
    return parallel_total(pieces, threads_, zero, [&](Range r, Histogram& counts) {
      for_candidates(r, [&](std::uint32_t bits, std::uint8_t&) {
        if (const Index bin = bin_of(bits); bin >= 0) ++counts[bin];
      });
    });
  };
  const Histogram high = histogram([](std::uint32_t bits) { return Index(bits >> kHalf); });
  Index count = budget_;
  if (high.sum() <= count) return;
  Threshold threshold{0xffffffffU, 0};
  if (count > 0) {
    const auto top = static_cast<std::uint32_t>(descend(high, count));
    const Histogram low = histogram([&](std::uint32_t bits) {
      return (bits >> kHalf) == top ? Index(bits & ((1U << kHalf) - 1)) : Index{-1};
    });
    const auto rest = static_cast<std::uint32_t>(descend(low, count));
    threshold = {(top << kHalf) | rest, count};
  }
  std::vector<std::vector<std::uint8_t*>> equal(pieces.size());
  parallel_for(static_cast<Index>(pieces.size()), threads_, [&](Index p, int) {
    const auto piece = static_cast<std::size_t>(p);
    for_candidates(pieces[piece], [&](std::uint32_t bits, std::uint8_t& mark) {
      if (bits == threshold.bits) equal[piece].push_back(&mark);
      mark = bits > threshold.bits;
    });
  });
  for (const auto& marks : equal) {
    for (std::uint8_t* const mark : marks) {
      if (threshold.ties-- > 0) *mark = 1;
    }
  }
}

Index count_differences(const Mask& a, const Mask& b, int threads) {
  const auto pieces = cut(a.cols(), kGrain, threads);
  return parallel_total(pieces, threads, Index{0}, [&](Range r, Index& total) {
    const auto columns = [&](const Mask& m) { return m.middleCols(r.begin, r.size).array(); };
    total += (columns(a) != columns(b)).count();
  });
}

}  // namespace nettrim::quadratic
