// BitMar: captions, answers and an episodic memory for photos, on the CPU. This header has all of the public API;
// docs/cpp.md says how to build and link.
#pragma once

#include "bitmar/error.h"
#include "bitmar/explanation.h"
#include "bitmar/image.h"
#include "bitmar/memory.h"
#include "bitmar/model.h"
#include "bitmar/options.h"
#include "bitmar/version.h"
