// Speed of the kernels under a solve: microseconds, GFLOP/s or GB/s, one JSON object per kernel.
//
//   bench_kernels [--samples 2000] [--features 301] [--outputs 100] [--threads 2] [--repeats 21]
//
// The products and the certificate run on all threads, the rest on one: a solve gives every thread
// outputs of its own. Rates count the arithmetic that is done, whatever of it could be avoided; a
// change to a factor is timed in a series of ten.
#include "harness.hpp"
#include "layer/certificate.hpp"
#include "layer/working_gram.hpp"
#include "nettrim/hyperbola.hpp"
#include "nettrim/layer.hpp"
#include "packed.hpp"
#include "parallel.hpp"
#include "quasidefinite.hpp"

namespace {

using namespace nettrim;

constexpr Index kSizes[] = {50, 100, 200, 400};
constexpr Index kSeries = 10;

template <class S>
const char* const kPrecision = sizeof(S) == sizeof(float) ? "float" : "double";

// A random layer like that of bench_layer, its weights and a dual candidate.
template <class S>
struct Layer {
  Matrix<S> X, Y, W, G;
  LayerProgram<S> program;

  Layer(Index samples, Index features, Index outputs) {
    std::mt19937_64 source(0);
    X = bench::hidden_signals(features, samples, source).template cast<S>();
    W = bench::gaussian(outputs, features, source).template cast<S>();
    Y = (W * X).cwiseMax(S(0));
    G = bench::gaussian(outputs, samples, source).template cast<S>();
    program.samples = samples;
    program.features = features;
    program.outputs = outputs;
    program.X = X.data();
    program.Y = Y.data();
    program.level = 0.1 * static_cast<double>(Y.norm());
  }
};

struct Setup {
  Index samples, features, outputs;
  int threads, repeats;
};

bench::Json named(const char* kernel, const std::string& precision, int threads) {
  bench::Json json;
  json.add("kernel", kernel).add("precision", precision).add("threads", threads);
  return json;
}

void tell(bench::Json json, double seconds, double flops) {
  json.add("us", 1e6 * seconds).add("gflops", 1e-9 * flops / seconds).print();
}

// Seconds of work(), which follows prepare(), not counted, every time.
template <class Prepare, class Work>
double median_seconds_after(int repeats, Prepare&& prepare, Work&& work) {
  std::vector<double> times;
  for (int k = 0; k < repeats; ++k) {
    prepare();
    times.push_back(bench::seconds(work));
  }
  return bench::median(times);
}

template <class S>
double product(const Layer<S>& layer, const Setup& setup) {
  const double seconds = bench::product_seconds(layer.W, layer.X, setup.threads, setup.repeats);
  const double flops = 2 * double(setup.samples) * double(setup.features) * double(setup.outputs);
  tell(named("product", kPrecision<S>, setup.threads), seconds, flops);
  return seconds;
}

// Two products, always in double: of float arrays it makes copies.
template <class S>
void certificate(const Layer<S>& layer, const Setup& setup, double one_product) {
  const auto p = layer::to_unit_size(layer.program, setup.threads);
  Matrix<S> dual = layer.G;
  layer::cut_to_valid_signs(p, dual);
  double bound = 0;  // is used, so that nothing is optimised away
  const double seconds = bench::median_seconds(
      setup.repeats, [&] { bound += layer::certify(p, layer.W, dual).dual_bound; });
  const double flops = 4 * double(setup.samples) * double(setup.features) * double(setup.outputs);
  if (!(bound >= 0)) throw std::runtime_error("the certificate makes no sense");
  tell(named("certify", kPrecision<S>, setup.threads).add("products", seconds / one_product),
       seconds, flops);
}

// The whole Gram matrix of the output with the median number of active samples.
template <class G>
void gram(const Layer<double>& layer, const Setup& setup) {
  const auto p = layer::to_unit_size(layer.program, setup.threads);
  const layer::WorkingGram<double, G> grams(p);
  std::vector<Index> outputs(static_cast<std::size_t>(setup.outputs));
  for (Index m = 0; m < setup.outputs; ++m) outputs[static_cast<std::size_t>(m)] = m;
  const auto middle = outputs.begin() + static_cast<std::ptrdiff_t>(outputs.size() / 2);
  std::nth_element(outputs.begin(), middle, outputs.end(), [&](Index a, Index b) {
    return grams.active_samples(a) < grams.active_samples(b);
  });
  std::vector<Index> features(static_cast<std::size_t>(setup.features));
  for (Index f = 0; f < setup.features; ++f) features[static_cast<std::size_t>(f)] = f;
  const double seconds =
      bench::median_seconds(setup.repeats, [&] { grams.columns(*middle, features, 0); });
  const Index active = grams.active_samples(*middle);
  const double summed = double(std::min(active, setup.samples - active));
  const double flops = 2 * summed * double(setup.features) * double(setup.features);
  tell(named("gram columns", kPrecision<G>, 1)
           .add("size", double(setup.features))
           .add("samples summed", summed),
       seconds, flops);
}

template <class G>
void packed_times_vector(Index size, int repeats) {
  std::mt19937_64 source(0);
  PackedSymmetric<G> matrix;
  matrix.grow(bench::gaussian(size, size, source));
  Eigen::VectorXd x = bench::gaussian(size, 1, source).normalized();
  const double seconds = bench::median_seconds(repeats,
                                               [&] {
                                                 for (Index k = 0; k < kSeries; ++k)
                                                   x = (matrix * x).normalized();
                                               }) /
                         double(kSeries);
  const double bytes = double(PackedSymmetric<G>::bytes(static_cast<std::size_t>(size)));
  named("packed times vector", kPrecision<G>, 1)
      .add("size", double(size))
      .add("us", 1e6 * seconds)
      .add("gb_per_s", 1e-9 * bytes / seconds)
      .print();
}

// Three rows in four are features; the matrix has some more rows than `size`, for those to come.
void quasidefinite(Index size, int repeats) {
  const Index room = size + kSeries, positive = size * 3 / 4;
  std::mt19937_64 source(0);
  const Matrix<double> square = bench::gaussian(room, room, source);
  Matrix<double> K =
      square * square.transpose() + double(room) * Matrix<double>::Identity(room, room);
  K.block(positive, positive, room - positive, room - positive) *= -1;
  const Eigen::VectorXd b = bench::gaussian(size, 1, source);

  QuasidefiniteFactor factor;
  const auto write = [&] { factor.prepare(size, room) = K.topLeftCorner(size, size); };
  const auto require = [](bool success) {
    if (!success) throw std::runtime_error("the matrix is not quasidefinite");
  };
  const auto factored = [&] {
    write();
    require(factor.factor(positive));
  };
  const auto report = [&](const char* kernel, double seconds, double flops) {
    tell(named(kernel, "double", 1).add("size", double(size)), seconds, flops);
  };
  const double n = double(size), series = double(kSeries);

  factored();
  const double whole =
      median_seconds_after(repeats, write, [&] { require(factor.factor(positive)); });
  report("factor", whole, n * n * n / 3);

  Matrix<double> fresh;
  const auto append = [&] {
    for (Index k = 0; k < kSeries; ++k) {
      auto entries = fresh.col(k).head(size + k);
      require(factor.append(entries, K(size + k, size + k), false));
    }
  };
  const auto before = [&] {
    factored();
    fresh = K.rightCols(kSeries);
  };
  const double longer = n + (series - 1) / 2;
  report("append", median_seconds_after(repeats, before, append) / series, longer * longer);

  double flops = 0;  // of rows at even steps
  const auto removed = [&](Index k) { return (2 * k + 1) * size / (2 * kSeries); };
  for (Index k = 0; k < kSeries; ++k) {
    const double after = double(size - removed(k) - 1);
    flops += 2 * after * after;
  }
  const auto remove = [&] {
    for (Index k = 0; k < kSeries; ++k) factor.remove(removed(k));
  };
  report("remove", median_seconds_after(repeats, factored, remove) / series, flops / series);

  factored();
  Eigen::VectorXd x;
  const auto solve = [&] {
    for (Index k = 0; k < kSeries; ++k) {
      x = b;
      factor.solve(x);
    }
  };
  report("solve", bench::median_seconds(repeats, solve) / series, 2 * n * n);
}

// Points about the corner of their hulls, a sixth of them inside.
void hyperbola(int repeats) {
  constexpr Index kPoints = 100'000;
  std::mt19937_64 source(0);
  const Eigen::VectorXd a = 3 * bench::gaussian(kPoints, 1, source);
  const Eigen::VectorXd b = 3 * bench::gaussian(kPoints, 1, source);
  const Eigen::VectorXd r = bench::gaussian(kPoints, 1, source).array().exp();
  Eigen::VectorXd u, v;
  const auto begin = [&] {
    u = a;
    v = b;
  };
  const auto project = [&] { project_onto_branch_hulls(kPoints, r.data(), u.data(), v.data()); };
  const double seconds = median_seconds_after(repeats, begin, project);
  named("hyperbola", "double", 1)
      .add("points", kPoints)
      .add("us", 1e6 * seconds)
      .add("million_points_per_s", 1e-6 * double(kPoints) / seconds)
      .print();
}

void run(bench::Options& given) {
  Setup setup;
  setup.samples = given.get<Index>("samples", 2000);
  setup.features = given.get<Index>("features", 301);
  setup.outputs = given.get<Index>("outputs", 100);
  setup.threads = given.get("threads", 2);
  setup.repeats = given.get("repeats", 21);
  given.require_all_used();
  const Layer<double> layer(setup.samples, setup.features, setup.outputs);
  const Layer<float> narrow(setup.samples, setup.features, setup.outputs);
  const double one_product = product(layer, setup);
  product(narrow, setup);
  certificate(layer, setup, one_product);
  certificate(narrow, setup, one_product);
  gram<double>(layer, setup);
  gram<float>(layer, setup);
  for (const Index size : kSizes) {
    packed_times_vector<double>(size, setup.repeats);
    packed_times_vector<float>(size, setup.repeats);
  }
  for (const Index size : kSizes) quasidefinite(size, setup.repeats);
  hyperbola(setup.repeats);
}

}  // namespace

int main(int argc, char** argv) { return bench::main_with(argc, argv, run); }
