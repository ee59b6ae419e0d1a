// The convex hull of one branch of a hyperbola, { (u, v) : u >= 0, v >= 0, u v >= r }.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim {

// Replaces every (u[i], v[i]) by the nearest point of the hull of r[i] >= 0, to 4e-16 relative;
// r[i] = 0 is the quadrant. Neither coordinate becomes smaller.
void project_onto_branch_hulls(Index n, const double* r, double* u, double* v);

}  // namespace nettrim
