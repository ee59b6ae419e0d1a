// One layer of Net-Trim (NIPS 2017, program (P) and eq. (S.5)): the weights of least l1 norm that
// reproduce a layer's outputs, with a dual certificate.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "nettrim/types.hpp"

namespace nettrim {

enum class Activation { relu, linear };

// constrained: min |U|_1  s.t.  ||(XU - Y)_active||_F <= level,      (XU)_inactive <= upper
// penalised:   min ||(XU - Y)_active||_F^2 + level |U|_1  s.t.       (XU)_inactive <= upper
enum class Form { constrained, penalised };

// Features that go together, from all outputs at once. With groups the norm of the program is
// sum_g prices_g ||U_g||_F in place of |U|_1, where U_g are the weights of the features of group g.
struct FeatureGroups {
  Index count = 0;                 // none: the l1 norm
  const Index* group = nullptr;    // of each feature; -1 for one that costs nothing
  const double* prices = nullptr;  // of each group, positive
};

// Draws weights U to others, W: what ridge ||U - W||_F^2 + pull ||(XU - XW)_inactive||_F^2 comes to
// takes its share of the ball, or of the penalised objective, as rows of X would that were appended
// and active. The signals XW are taken as they are computed, in the precision of the program.
template <class S>
struct Regularisation {
  double ridge = 0, pull = 0;   // neither: none
  const S* original = nullptr;  // W, features x outputs
};

// Views of row-major arrays that outlive the call. In a linear layer everything is active.
template <class S>
struct LayerProgram {
  Index samples = 0, features = 0, outputs = 0;
  const S* X = nullptr;          // samples x features
  const S* Y = nullptr;          // samples x outputs
  const S* upper = nullptr;      // samples x outputs, read where inactive; null means zero
  const bool* active = nullptr;  // samples x outputs, needs upper; null means where Y > 0
  Activation activation = Activation::relu;
  Form form = Form::constrained;
  double level = 0;  // epsilon or penalty
  // features x outputs: in place of |U|_1 the norm is sum_ij costs_ij |U_ij|, all of them positive;
  // a weight of infinite cost is zero. Null means that all are 1.
  const double* costs = nullptr;
  FeatureGroups groups;
  Regularisation<S> regularisation;
};

// newton: active sets per output and one Newton iteration on their common penalty; admm:
// alternating directions; automatic: in a linear layer of no more features than samples alternating
// directions on its Gram matrix, elsewhere newton, and each from where the other makes no progress.
// With groups there is no newton, and automatic are alternating directions with Anderson's mixing.
// A regularised program is for newton alone: signals that are drawn and bounded have no projection
// onto the ball in closed form.
enum class Solver { automatic, admm, newton };

// "auto", "admm" or "newton". Throws std::invalid_argument for another name.
Solver solver_named(const std::string& name);

// What a solve knows at one of its certificates, in the caller's units.
struct LayerProgress {
  Index iteration;
  double objective, dual_bound, gap, residual, violation, seconds;
};

struct LayerOptions {
  Solver solver = Solver::automatic;
  double tol = 1e-6;       // on the gap, and on residual and violation against epsilon and max |Y|
  Index max_iter = 50000;  // an iteration of newton is a round of all outputs
  double time_limit = std::numeric_limits<double>::infinity();  // seconds
  Index check_every = 25;  // iterations of admm between certificates
  int n_threads = 1;
  std::function<bool(const LayerProgress&)> callback;  // true stops the solve
  std::function<bool()> interrupted;                   // asked between iterations; true stops
};

// Where to start: row-major arrays like the answer's, either may be null.
template <class S>
struct LayerStart {
  const S* weights = nullptr;  // features x outputs
  const S* dual = nullptr;     // samples x outputs
};

// weights and dual are transposed as matrices, so that their memory is row-major like the input's.
template <class S>
struct LayerSolution {
  Matrix<S> weights;  // outputs x features; exactly zero where a connection is removed
  Matrix<S> dual;     // outputs x samples; proves dual_bound
  // Of each output: multipliers of the rows that a regularisation stands for, over what is missing
  // there. With s a slope, ridge s (W - U) is beside X'dual in the dual constraint, and pull s
  // (XW - XU) beside the dual where inactive. Empty without a regularisation.
  Eigen::VectorXd slopes;
  double objective = 0, dual_bound = 0, gap = 0;
  double residual = 0;              // Frobenius norm of XU - Y where active, and of what is drawn
  double violation = 0;             // largest excess of XU over upper elsewhere
  double epsilon = 0, penalty = 0;  // the one given and its counterpart
  Status status = Status::numerical;
  Index iterations = 0;
  const char* solver = "none";  // the engine that gave the answer
  const char* reason = "";      // why that one
  double seconds = 0;
};

// Throws std::invalid_argument for a program or options that make no sense; a solve that fails is a
// status. Compiled for float and double; the certificate is computed in double for both.
template <class S>
LayerSolution<S> solve_layer(const LayerProgram<S>& program, const LayerOptions& options = {},
                             const LayerStart<S>& start = {});

// The constrained program for each of some positive epsilons, the largest first, every answer from
// the one before. program.form and .level are not read, the time limit is for all together. Fewer
// solutions than epsilons if an interrupt or that limit ended it: the last one says so.
template <class S>
std::vector<LayerSolution<S>> trace_layer(LayerProgram<S> program,
                                          const std::vector<double>& epsilons,
                                          const LayerOptions& options = {});

}  // namespace nettrim
