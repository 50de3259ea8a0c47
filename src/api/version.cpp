#include "bitmar/version.h"

namespace bitmar {

const char* version() { return BITMAR_VERSION; }

}  // namespace bitmar
