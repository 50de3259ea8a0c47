// ln and exp in double from + - * / alone: the C library's differ between platforms in the last bit,
// and a caption must not.
#pragma once

namespace bitmar {

double natural_log(double x);  // x > 0; of zero or less, -infinity
double natural_exp(double x);

}  // namespace bitmar
