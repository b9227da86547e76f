// One of everything in which kinds of generated Python code differ.

namespace py of_variant

include "variant_base.thrift"

enum Color {
  RED = 1,
  GREEN = 2,
  BLUE = 4
}

struct Small {
  1: i32 id,
  2: string text
}

struct Frozen {
  1: i32 id,
  2: string name
} (python.immutable = "")

struct Tree {
  1: string label,
  2: list<Tree> children
}

union Choice {
  1: string text,
  2: i64 number,
  3: Small small
}

struct Everything {
  1: bool flag,
  2: i8 tiny,
  3: i16 short_,
  4: i32 medium,
  5: i64 large,
  6: double real,
  7: string text,
  8: binary raw,
  9: Color color = Color.GREEN,
  10: list<map<string, set<i32>>> nested,
  11: map<i64, list<map<i16, set<double>>>> deep,
  12: Choice choice,
  13: Tree tree,
  14: variant_base.Stamp stamp,
  15: optional string maybe,
  16: list<Color> colors = [Color.RED, Color.BLUE],
  17: list<bool> flags,
  40: map<Color, Small> by_color,
  // Behind a gap that the short form of a compact field header cannot bridge.
  1000: required string must
}

exception Loose {
  1: i32 code,
  2: list<Small> details
} (python.immutable = "false")

service child extends variant_base.parent {
  Everything mirror(1: Everything value),
  Tree tree(1: Tree root),
  map<Frozen, i32> frozen(1: Frozen key, 2: map<Frozen, i32> others),
  Color color(1: Color value, 2: list<Color> more, 3: map<string, Color> named),
  binary raw(1: binary value),
  string find(1: string key) throws (1: Loose loose, 2: variant_base.Rigid rigid),
  void check(1: i32 code) throws (1: Loose loose),
  void nothing(),
  oneway void fire(1: list<Small> smalls, 3: i64 late),
  string defaults(1: string text = "text", 2: i32 times = 2, 3: Color color = Color.BLUE, 4: list<i32> more = [1, 2]),
  // As the first IDLs were written, before fields had ids of their own.
  i32 unnumbered(i32 a, string b),
  string match(1: string type, 2: bool case),
  string close(1: string name)
}
