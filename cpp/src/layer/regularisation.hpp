// Rows of a regularised program that are never formed: for each feature sqrt(ridge) times its
// weights, drawn to sqrt(ridge) W, and for each inactive entry sqrt(pull) times its signal, drawn
// to sqrt(pull) XW. They are active, and beside weights U a candidate's multipliers of them are
// what is missing there times the slope of the output; zero where no slopes are given.
#pragma once

#include "layer/certificate.hpp"

namespace nettrim::layer {

// Null if nothing draws the program's weights.
template <class S>
std::shared_ptr<const UnitRegularisation<S>> regularisation_of(const UnitProgram<S>& program);

// Norm of the targets of all these rows.
template <class S>
double norm_of_drawn_targets(const UnitProgram<S>& program);

// Adds the pulled rows of `piece`, whose signals are given, to the evidence but for its gradient,
// and their multipliers, as the gradient sees them, to those of the piece.
template <class S>
void add_pulled_rows(const UnitProgram<S>& program, Range piece, const Matrix<double>& signal,
                     const Eigen::VectorXd& slopes, Matrix<double>& dual, Evidence& evidence);

// Adds the rows of the ridge.
template <class S>
void add_ridge_rows(const UnitProgram<S>& program, const Matrix<double>& weights,
                    const Eigen::VectorXd& slopes, Evidence& evidence);

// No weights within the ball have a norm as large as this: a bound above it proves that there are
// none. Without a ridge, no weights of any sense.
template <class S>
double norm_beyond_reach(const UnitProgram<S>& program);

}  // namespace nettrim::layer
