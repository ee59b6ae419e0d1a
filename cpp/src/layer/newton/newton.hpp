// Newton's method on the penalty lambda of the weights, columns solved by active sets.
//
// Given lambda, outputs decouple. Each round solves every output on its working features and
// rows (column.hpp), moves lambda by one Newton step on its square - the squared residual is
// piecewise affine in it - and looks at all samples and features once: two products, which
// find what is missing from the working sets and certify the round's answer. The rounds are in
// newton.cpp, the sets in working_sets.cpp, what is seen of all samples in looks.cpp.
#pragma once

#include <cstdint>
#include <limits>

#include "layer/newton/column.hpp"
#include "layer/newton/working_gram.hpp"
#include "layer/search.hpp"

namespace nettrim::layer {

template <class S>
class Newton {
 public:
  // grams: what the Gram matrices are kept in. Single precision is faster and takes half the
  // memory; double is for nearly collinear features.
  Newton(const UnitProgram<S>& program, const Supervisor& supervisor, Precision grams);

  // From multipliers and weights that are roughly right.
  void start(const Matrix<S>& weights, const Matrix<S>& dual);
  void step();
  void aim();  // at the level that the program has now, from here

  // What search() asks of an engine.
  bool wants_certificate(Index) const { return !saw_roughly_; }
  Patience patience() const;
  void report(EngineResult<S>& a) const;
  const Matrix<S>* ray(const EngineResult<S>&);
  void on_certificate(double, double) {}

 private:
  struct Excess {  // of an inactive entry over its bound; compact, for there may be many
    float size;
    std::int32_t sample;
  };

  void shrink(Index output, const Eigen::VectorXd& steepness);
  void extend(Index output, const std::vector<Index>& features, const std::vector<Index>& rows);
  void complete_grams(const std::vector<Index>& outputs);
  bool is_to_be_completed(Index output) const;
  void settle(double seen_at);
  Index update_working_sets(const std::vector<Index>& outputs, double seen_at);
  Index update_working_set(Index output, double seen_at, ColumnWorkspace& work);
  std::vector<std::vector<Index>> groups_to_solve() const;
  void solve_columns();
  bool is_dear_to_look() const;
  void solve_at_next_lambda();
  void solve_column(Index output, ColumnWorkspace& work);
  void share_room();
  void start_columns(const Matrix<S>& weights, const Matrix<S>& dual);
  double lambda_of_weights() const;
  double norm_over_active(const Matrix<S>& dual) const;
  std::vector<Index> missing_features(const Column& column, const Eigen::VectorXd& steepness) const;
  std::vector<Index> missing_rows(const Column& column, const std::vector<Excess>& excesses) const;
  void gather_values(const Column& column, ColumnWorkspace& work) const;
  void write_back(Index output);
  void find_lambda();
  double safeguard(double lambda, double missing);
  double total_slope() const;  // of the squared residuals, by the squared lambda
  void step_to(double lambda);
  void follow_lambda();
  double least_weight() const;  // what is smaller counts as zero
  ColumnTolerances tolerances_after(double lambda_change) const;
  void look_at_all_samples(bool roughly);
  void look_at(const std::vector<Index>& outputs, bool roughly);
  template <class G>
  void look(const std::vector<Index>& outputs);
  void take(const std::vector<Index>& outputs, Evidence&& seen);
  void begin_estimates();
  double in_use() const;
  bool misses_residual() const;
  double dual_scale() const { return p_.constrained() ? 1 / lambda_ : 2.0; }

  const UnitProgram<S>& p_;
  const Supervisor& supervisor_;
  Precision precision_;  // of the Gram matrices
  WorkingGram<S> grams_;
  ColumnTolerances tolerances_;
  double lambda_ = 0, next_lambda_ = 0;
  double last_step_ = 0;        // of lambda's logarithm
  double feasible_lambda_ = 0;  // largest penalty known to leave room in the ball, smallest ...
  double infeasible_lambda_ = std::numeric_limits<double>::infinity();  // ... known to leave none
  Index lambda_rounds_ = 0;                                             // since the last aim
  bool slack_ = false;  // whether the ball seems to bind at no lambda
  Index looks_for_ray_ = 0;
  double last_change_ = 1;  // of lambda, relative
  std::vector<Column> columns_;
  std::vector<ColumnWorkspace> workspaces_;
  Matrix<double> weights_;  // outputs x features
  Matrix<S> dual_;          // outputs x samples
  Evidence evidence_;
  std::vector<std::vector<Excess>> excesses_;  // of each output, in the order of samples
  std::vector<std::uint8_t> keeps_gram_;       // of each output, between its solves
  std::vector<std::uint8_t> is_right_;         // of each output, at this round's lambda
  std::vector<std::uint8_t> has_grown_;        // of each output, whether its working set just has
  // Of each output, in which samples its Gram matrix stands for all: 1 for an exact one.
  std::vector<Index> strides_;
  bool estimates_grams_ = false;
  bool saw_roughly_ = false;  // whether the last look was in single precision
};

// Of the Gram matrices of all outputs at all features, in double precision.
template <class S>
std::size_t most_gram_bytes(const UnitProgram<S>& program);

}  // namespace nettrim::layer
