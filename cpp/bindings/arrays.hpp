// NumPy arrays as views, and matrices as NumPy arrays without a copy. Shapes and types are checked
// in Python, where the argument's name is known; here the strict types are only insisted upon.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <optional>
#include <utility>

#include "nettrim/types.hpp"

namespace nettrim::bindings {

namespace py = pybind11;

// Row-major; with noconvert() nothing else gets in.
template <class S>
using Array = py::array_t<S, py::array::c_style>;

template <class S>
using OptionalArray = std::optional<Array<S>>;

constexpr double kNoLimit = kInfinity;  // of time

template <class S>
const S* data_or_null(const OptionalArray<S>& array) {
  return array ? array->data() : nullptr;
}

// Moves a matrix into an array that owns it; column-major r x c becomes row-major c x r.
template <class S>
py::array to_array(Matrix<S>&& matrix) {
  auto owner = std::make_unique<Matrix<S>>(std::move(matrix));
  const py::ssize_t rows = owner->cols(), columns = owner->rows();
  S* data = owner->data();
  py::capsule keeper(owner.release(), [](void* p) { delete static_cast<Matrix<S>*>(p); });
  return py::array_t<S>({rows, columns}, data, keeper);
}

}  // namespace nettrim::bindings
