// The vocabulary of every nettrim header. A caller's row-major array of samples x features is read
// as the column-major matrix features x samples, which is the same memory: no copy.
#pragma once

#include <Eigen/Core>
#include <limits>

namespace nettrim {

using Index = Eigen::Index;

template <class S>
using Matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic>;

template <class S>
using View = Eigen::Map<const Matrix<S>>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

enum class Status { optimal, max_iter, time_limit, interrupted, infeasible, numerical };

const char* name(Status status);

}  // namespace nettrim
