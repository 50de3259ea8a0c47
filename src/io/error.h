// The public header's errors, by the name that the engine's files use.
#pragma once

#include "bitmar/error.h"
