#include "runtime/faster_way.h"

#include <algorithm>

namespace bitmar {

void FasterWay::took(double time) {
  double& mean = mean_[second()];
  mean = mean == 0 ? time : mean + kShare * (std::min(time, kOutlier * mean) - mean);
  const bool trial_ends = trial_ > 0 && (--trial_ == 0 || time > kLost * mean_[favourite_]);
  if (trial_ends) trial_ = 0;
  if (trial_ > 0) return;
  const bool faster = mean_[0] == 0 || mean_[1] < kGain * mean_[0];
  if (faster != favourite_) {
    favourite_ = faster;
    interval_ = until_trial_ = kSoon;
  } else if (trial_ends) {
    until_trial_ = interval_ = std::min(2 * interval_, kLate);
  } else if (--until_trial_ == 0) {
    trial_ = kTrial;
    mean_[!favourite_] = 0;  // as it is now, and not as it was
  }
}

}  // namespace bitmar
