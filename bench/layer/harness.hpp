// What every C++ benchmark needs: options from the command line, random layers and arrays from .npy
// files, medians of wall time, one JSON object per result on standard output.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "nettrim/types.hpp"
#include "parallel.hpp"

namespace nettrim::bench {

// --name value pairs; a name that nobody asks about is an error.
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = argv[i];
      if (name.rfind("--", 0) != 0 || i + 1 == argc) {
        throw std::invalid_argument("options are pairs, --name value; stuck at " + name);
      }
      given_[name.substr(2)] = argv[i + 1];
    }
  }

  template <class T>
  T get(const std::string& name, T otherwise) {
    const auto found = given_.find(name);
    if (found == given_.end()) return otherwise;
    T value{};
    std::istringstream text(found->second);
    if (!(text >> value)) throw std::invalid_argument("--" + name + " got " + found->second);
    given_.erase(found);
    return value;
  }

  void require_all_used() const {
    if (!given_.empty()) throw std::invalid_argument("unknown option --" + given_.begin()->first);
  }

 private:
  std::map<std::string, std::string> given_;
};

// One result: names and numbers or words, in the order they were added.
class Json {
 public:
  Json& add(const std::string& name, double value) {
    std::ostringstream text;
    text.precision(6);
    text << value;
    return put(name, text.str());
  }
  Json& add(const std::string& name, const std::string& word) {
    return put(name, '"' + word + '"');
  }
  void print() const { std::cout << '{' << body_ << "}\n" << std::flush; }

 private:
  Json& put(const std::string& name, const std::string& value) {
    body_ += (body_.empty() ? "\"" : ", \"") + name + "\": " + value;
    return *this;
  }
  std::string body_;
};

template <class Work>
double seconds(Work&& work) {
  const auto began = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// After one run that is not counted.
template <class Work>
double median_seconds(int repeats, Work&& work) {
  work();
  std::vector<double> times;
  for (int k = 0; k < repeats; ++k) times.push_back(seconds(work));
  return median(times);
}

inline Matrix<double> gaussian(Index rows, Index columns, std::mt19937_64& source) {
  std::normal_distribution<double> normal;
  return Matrix<double>::NullaryExpr(rows, columns, [&](Index, Index) { return normal(source); });
}

// The outputs of a random ReLU layer, as a hidden layer sees them: features x samples. The last
// feature is the constant one, of the bias.
inline Matrix<double> hidden_signals(Index features, Index samples, std::mt19937_64& source) {
  const Index inputs = std::max<Index>(features / 8, 2);
  const Matrix<double> mixing = gaussian(features, inputs, source);
  Matrix<double> X = (mixing * gaussian(inputs, samples, source)).cwiseMax(0.0);
  X.row(features - 1).setOnes();
  return X;
}

// Of one W X, every thread with samples of its own.
template <class S>
double product_seconds(const Matrix<S>& W, const Matrix<S>& X, int threads, int repeats) {
  Matrix<S> out(W.rows(), X.cols());
  const auto pieces = cut(X.cols(), X.cols(), threads);
  return median_seconds(repeats, [&] {
    parallel_for(static_cast<Index>(pieces.size()), threads, [&](Index k, int) {
      const Range r = pieces[static_cast<std::size_t>(k)];
      out.middleCols(r.begin, r.size).noalias() = W * X.middleCols(r.begin, r.size);
    });
  });
}

// Of a .npy file of little-endian float64 in C order: row by row, so columns of the answer are rows
// of the file.
inline Matrix<double> read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[8];
  std::uint16_t length = 0;
  file.read(magic, 8);
  file.read(reinterpret_cast<char*>(&length), 2);
  std::string header(length, ' ');
  file.read(header.data(), length);
  const auto shape = header.find("'shape': (");
  if (!file || std::string(magic + 1, 5) != "NUMPY" || magic[6] != 1 ||
      header.find("'<f8'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos || shape == std::string::npos) {
    throw std::runtime_error(path + " is no .npy file of float64 in C order");
  }
  long long rows = 0, columns = 0;
  if (std::sscanf(header.c_str() + shape, "'shape': (%lld, %lld)", &rows, &columns) != 2) {
    throw std::runtime_error(path + " does not hold a matrix");
  }
  Matrix<double> values(columns, rows);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * Index(sizeof(double))));
  if (!file) throw std::runtime_error(path + " is cut short");
  return values;
}

// Runs body(options); an option or file that makes no sense is told in one line.
template <class Body>
int main_with(int argc, char** argv, Body&& body) {
  try {
    Options options(argc, argv);
    body(options);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return EXIT_FAILURE;
  }
}

}  // namespace nettrim::bench
