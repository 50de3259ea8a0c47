// Finds out by timing which of two ways of doing the same job is faster.
#pragma once

namespace bitmar {

// The favourite does the jobs. The other one has a trial of a few jobs now and then, less and less often as long as it
// loses, so that a change of circumstances (another process that takes a core) is noticed and costs little.
class FasterWay {
 public:
  // Whether the next job is done the second way. At first it is.
  bool second() const { return favourite_ != (trial_ > 0); }

  // How long that job took, in any unit.
  void took(double time);

 private:
  static constexpr double kGain = 0.95;   // of the first way's time, that the second has to stay below: it has costs
  static constexpr double kShare = 0.25;  // of the newest time in a mean
  static constexpr double kOutlier = 2;   // times the mean: no single job counts for more
  static constexpr double kLost = 1.25;   // times the favourite's mean: a job of a trial that ends it
  static constexpr int kTrial = 3;        // jobs
  static constexpr int kSoon = 8, kLate = 128;  // jobs from one trial to the next

  double mean_[2] = {};    // [way], zero as long as it is not known
  bool favourite_ = true;  // the second
  int trial_ = 0;          // jobs left of it
  int interval_ = kSoon;
  int until_trial_ = kSoon;  // jobs
};

}  // namespace bitmar
