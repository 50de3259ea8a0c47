// The public header's images, by the name that the engine's files use.
#pragma once

#include "bitmar/image.h"
