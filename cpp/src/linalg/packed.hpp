// A symmetric matrix of which the lower triangle is kept, in blocks of rows: it grows without
// moving, and in single precision takes a quarter of the memory. Arithmetic with it is in double.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "nettrim/types.hpp"

namespace nettrim {

enum class Precision { float32, float64 };

template <class G>
class PackedRows {
 public:
  Index size() const { return static_cast<Index>(rows_.size()); }
  double operator()(Index i, Index j) const {
    return static_cast<double>(i < j ? row(j)[i] : row(i)[j]);
  }
  const G* row(Index i) const { return rows_[static_cast<std::size_t>(i)]; }  // i + 1 entries
  static std::size_t bytes(std::size_t size) { return size * (size + 1) / 2 * sizeof(G); }

  // Appends rows and columns: column k of `fresh` is that of element size() + k, down to itself.
  void grow(const Matrix<double>& fresh);
  // Keeps these rows and columns, in ascending order.
  void keep(const std::vector<Index>& chosen);
  // out += scale * column j
  void add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const;
  Eigen::VectorXd operator*(const Eigen::VectorXd& x) const;

 private:
  G* add_block(std::size_t entries);
  void add_corner_row(Index i, Index from, const double* in, double* out) const;

  std::vector<std::unique_ptr<G[]>> blocks_;
  std::vector<const G*> rows_;
};

// Of a precision that is chosen at run time: what computes with it is compiled once.
class PackedSymmetric {
 public:
  explicit PackedSymmetric(Precision precision) {
    if (precision == Precision::float64) rows_.emplace<PackedRows<double>>();
  }

  Precision precision() const {
    return rows_.index() == 0 ? Precision::float32 : Precision::float64;
  }
  Index size() const {
    return std::visit([](const auto& rows) { return rows.size(); }, rows_);
  }
  double operator()(Index i, Index j) const {
    return std::visit([=](const auto& rows) { return rows(i, j); }, rows_);
  }
  // body(entries), the i + 1 entries of row i as they are kept.
  template <class Body>
  void with_row(Index i, Body&& body) const {
    std::visit([&](const auto& rows) { body(rows.row(i)); }, rows_);
  }
  static std::size_t bytes(std::size_t size, Precision precision) {
    return precision == Precision::float32 ? PackedRows<float>::bytes(size)
                                           : PackedRows<double>::bytes(size);
  }

  void grow(const Matrix<double>& fresh) {
    std::visit([&](auto& rows) { rows.grow(fresh); }, rows_);
  }
  void keep(const std::vector<Index>& chosen) {
    std::visit([&](auto& rows) { rows.keep(chosen); }, rows_);
  }
  void add_column(Index j, double scale, Eigen::Ref<Eigen::VectorXd> out) const {
    std::visit([&](const auto& rows) { rows.add_column(j, scale, out); }, rows_);
  }
  Eigen::VectorXd operator*(const Eigen::VectorXd& x) const {
    return std::visit([&](const auto& rows) { return rows * x; }, rows_);
  }

 private:
  std::variant<PackedRows<float>, PackedRows<double>> rows_;
};

}  // namespace nettrim
