// Photo files to pixels, for node: browsers decode them themselves, and need not download what does it here.
#include <emscripten/bind.h>
#include <emscripten/val.h>

#include "convert.h"
#include "io/image.h"

namespace {

using emscripten::val;

val decode(const val& file) {
  return bitmar::guarded([&] {
    const bitmar::Image image = bitmar::decode_image(bitmar::bytes_of(file));
    val pixels = val::object();
    pixels.set("data", bitmar::copy_of(image.rgb));
    pixels.set("width", image.width);
    pixels.set("height", image.height);
    return pixels;
  });
}

}  // namespace

EMSCRIPTEN_BINDINGS(bitmar_photos) { emscripten::function("decode", &decode); }
