// One output of a layer at a given penalty lambda of its weights,
//   min 1/2 ||(Xu - y)_active||^2 + lambda cost'|u|   s.t.  (Xu)_inactive <= upper,
// where lambda is half of the `penalty` of nettrim::LayerProgram's penalised form,
// on a few working features and a few working rows, solved to the end by exchanging the guess of
// which weights are nonzero and which rows are tight, many at a time (block principal pivoting:
// Judice and Pires, 1994; Kim and Park, 2011), or where that goes in circles one at a time, on a
// path from the program that the last answer solves (parametric active sets).
//
// Rows enter by an augmented Lagrangian, z = max(0, center + rho (Xu - upper)), so that every
// guess has one answer: the matrix of a guess is quasidefinite whatever the rows. The quadratic is
// taken about a reference point at which the gradient was computed from X itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "linalg/packed.hpp"
#include "linalg/quasidefinite.hpp"

namespace nettrim::layer {

// What one thread needs to solve columns, one after the other.
struct ColumnWorkspace {
  Matrix<double> values;  // of the column's rows at its features, features x rows
  QuasidefiniteFactor factor;
  std::vector<Index> order, place;  // element in each row of the factor; row of each element or -1
  Eigen::VectorXd rhs, entries;
  std::vector<Index> wrong;  // elements
  struct PathChange {
    Eigen::VectorXd gradient_shift, slack_shift;              // of its start
    Eigen::VectorXd weights, multipliers, gradients, slacks;  // their change over the whole way
  } path;
};

struct ColumnTolerances {
  double gradient;         // relative to lambda and cost
  double row;              // in the units of XU
  double weight;           // what is smaller counts as zero
  double proximal_weight;  // the firmest that a stuck column may have
};

// The proximal terms: augmented-Lagrangian penalty rho of the rows in units of a sample, proximal
// weight of the weights, where the longest feature has length 1 to 2. The proximal weight is above
// the rounding of the Gram matrix, and grows where a factor spoilt by rounding asks for it, and
// further where no guess comes right without: the smaller, the fewer rounds.
constexpr double kRho = 1e9;
inline double first_proximal_weight(Precision gram) {
  return gram == Precision::float32 ? 1e-6 : 1e-12;
}
inline double most_proximal_weight(Precision gram) {
  return gram == Precision::float32 ? 1e-4 : 1e-8;
}

// Solutions are of double precision whatever the Gram matrix is kept in, for the gradient at the
// reference is, but single precision needs more rounds where features are nearly collinear.
class Column {
 public:
  using Vector = Eigen::VectorXd;

  explicit Column(Precision gram) : gram_(gram), proximal_weight_(first_proximal_weight(gram)) {}

  const std::vector<Index>& features() const { return features_; }
  const std::vector<Index>& rows() const { return rows_; }
  const Vector& weights() const { return weights_; }          // of features()
  const Vector& multipliers() const { return multipliers_; }  // of rows(), >= 0
  bool uses(Index place) const { return guess_.sign[static_cast<std::size_t>(place)] != 0; }
  Index support_size() const { return support_size_; }
  Index tight_size() const { return tight_size_; }

  void add_features(const std::vector<Index>& features, const Vector& costs);
  void add_rows(const std::vector<Index>& rows, const Vector& bounds);
  // Working features given by their place in features(), in ascending order; the others are zero.
  void keep_features(const std::vector<Index>& places);
  // So many slack rows at most: those nearest to their bounds at the last solve. Others leave.
  void keep_slack_rows(Index most);
  // The Gram matrix over the active samples: of the first gram_size() features; add_gram() appends
  // the columns of all others, features x others, which solve() needs.
  Index gram_size() const { return gram_.size(); }
  const PackedSymmetric& gram() const { return gram_; }
  void add_gram(const Matrix<double>& columns) { gram_.grow(columns); }
  void forget_gram() { gram_ = PackedSymmetric(gram_.precision()); }
  void start(const Vector& weights, const Vector& multipliers);

  // Both need `work.values`. gradient: of the quadratic and the rows at the present weights and
  // multipliers, on features().
  void refer(const Vector& gradient, double squared_residual, const ColumnWorkspace& work);
  // Whether weights and multipliers are already right at lambda; asked after refer().
  bool is_optimal(double lambda, const ColumnTolerances& tolerances) const;
  // Weights and multipliers stay as they were where the exchanges do not come to an end.
  void solve(double lambda, const ColumnTolerances& tolerances, ColumnWorkspace& work);

  // To another lambda nearby, along the last solve's line: exact as long as no guess changes.
  void follow(double lambda_change, double least_weight);

  // Of the last solve: ||(Xu - y)_active||^2 and its derivative by lambda^2.
  double squared_residual() const { return squared_residual_; }
  double slope() const { return slope_; }

 private:
  template <class Flags>
  static Index count_nonzeros(const Flags& flags) {
    return std::count_if(flags.begin(), flags.end(), [](auto flag) { return flag != 0; });
  }

  struct Guess {
    std::vector<std::int8_t> sign;    // of each weight
    std::vector<std::uint8_t> tight;  // of each row
  };

  bool settle(double lambda, const ColumnTolerances& t, int updates, ColumnWorkspace& work);
  bool settle_firmly(double lambda, const ColumnTolerances& t, ColumnWorkspace& work);
  bool exchange_until_right(double lambda, const ColumnTolerances& t, ColumnWorkspace& work);
  void follow_path(double lambda, ColumnWorkspace& work);
  void begin_path(double lambda, ColumnWorkspace& work);
  void find_direction(double lambda_change, ColumnWorkspace& work);
  std::pair<double, Index> next_event(double lambda, double lambda_change, double left, Index last,
                                      const ColumnWorkspace& work) const;
  bool synchronise(ColumnWorkspace& work);
  bool factor_anew(ColumnWorkspace& work);
  bool factor_guess(ColumnWorkspace& work);
  bool raise_proximal_weight(double most, ColumnWorkspace& work);
  bool move_in(Index element, ColumnWorkspace& work);
  void respond(const Vector& of_features, const Vector& of_rows, Vector& weights,
               Vector& multipliers, ColumnWorkspace& work) const;
  void solve_guess(double lambda, const ColumnTolerances& t, ColumnWorkspace& work);
  void correct_guess(double lambda, ColumnWorkspace& work);
  bool is_accurate(double lambda, const ColumnTolerances& t) const;
  void find_wrong(double lambda, const ColumnTolerances& t, ColumnWorkspace& work) const;
  void keep_most_wrong(double share, double lambda, ColumnWorkspace& work) const;
  void exchange(Index element);
  void measure(ColumnWorkspace& work);
  bool move_proximal_centers(double lambda, const ColumnTolerances& t);
  double row_error() const;
  void forget_multipliers();
  bool is_in(Index element) const;
  // What is asked of gradients at lambda: their size where the weight is in use, and how far
  // off it may be.
  double due(Index place, double lambda) const { return lambda * costs_[place]; }
  Vector signed_costs() const;  // at the signs of the guess
  double allowed(Index place, double lambda, const ColumnTolerances& t) const {
    return t.gradient * due(place, lambda) + noise_;
  }

  std::vector<Index> features_, rows_;
  Vector costs_;          // of the features
  PackedSymmetric gram_;  // of the features, over active samples
  Vector bounds_;         // of the rows
  Vector weights_, multipliers_;
  Vector weight_center_, multiplier_center_;  // of the proximal terms
  Guess guess_;
  double proximal_weight_, rho_ = kRho;
  double lambda_ = 0;  // half the API's penalty: of the last solve, and what it followed since

  Vector reference_, multipliers_there_, gradient_there_, slack_there_;
  Vector full_gradient_there_;              // with the rows' part
  Vector weight_slope_, multiplier_slope_;  // by lambda
  double squared_residual_there_ = 0;
  double noise_ = 0;                                     // of gradients there, by rounding
  Vector step_, curved_, gradient_, slack_, candidate_;  // of the present guess
  double squared_residual_ = 0, slope_ = 0;
  bool measured_ = false;  // whether the slopes are known
  bool at_rest_ = true;    // whether the last solve left the multipliers where they stay
  Index support_size_ = 0, tight_size_ = 0;
};

}  // namespace nettrim::layer
