// One of everything that a real service has.

namespace py rich_if

include "shared_base.thrift"

typedef i64 UserId
typedef map<string, set<i32>> Index

const i32 LIMIT = 7

enum Color {
  RED = 1,
  GREEN = 2,
  BLUE = 4
}

struct Small {
  1: i32 id,
  2: string text
}

struct Numbers {
  1: bool flag,
  2: i8 tiny,
  3: i16 short_,
  4: i32 medium,
  5: i64 large,
  6: double real
}

struct Tree {
  1: string label,
  2: list<Tree> children
}

union Choice {
  1: string text,
  2: i64 number,
  3: Small small
}

struct Optional {
  1: required string must,
  2: optional string may,
  3: string some = "some",
  4: optional i32 limit = LIMIT,
  5: list<Color> colors = [Color.RED, Color.BLUE]
}

struct Everything {
  1: Numbers numbers,
  2: string text,
  3: binary raw,
  4: Color color,
  5: UserId user,
  6: Tree tree,
  7: list<Index> indexes,
  8: map<string, Small> smalls,
  9: set<string> tags,
  10: set<Color> colors,
  11: map<UserId, list<map<i16, set<double>>>> deep,
  12: Choice choice,
  13: Optional options,
  14: shared_base.Stamp stamp,
  15: list<bool> flags,
  16: list<binary> chunks
}

exception NotFound {
  1: string key
}

exception Refused {
  1: i32 code,
  2: string reason,
  3: list<Small> details
}

service rich_service extends shared_base.base_service {
  // What tests time, fill and count.
  i32 add(1: i32 a, 2: i32 b),
  string echo(1: string s),
  binary blob(1: i32 size),
  list<Small> structs(1: i32 n),
  void sleep_ms(1: i32 ms),
  oneway void fire(1: string token),
  list<string> fired(),

  // Each comes back as it went.
  Everything mirror(1: Everything value),
  Tree tree(1: Tree root),
  Choice choice(1: Choice choice),
  Optional options(1: Optional options),
  bool flag(1: bool value),
  i8 tiny(1: i8 value),
  i16 small(1: i16 value),
  i32 medium(1: i32 value),
  i64 large(1: i64 value),
  double real(1: double value),
  binary raw(1: binary value),
  Color color(1: Color value),
  list<Index> nested(1: list<Index> value),
  set<string> tags(1: set<string> value),
  list<string> texts(1: list<string> value),

  // Shares of a list, a set and a map, to be merged again.
  map<UserId, Small> lookup(1: list<UserId> ids),
  set<string> present(1: set<string> keys, 2: string prefix),
  i32 store(1: map<string, Small> smalls),

  string find(1: string key, 2: bool refuse) throws (1: NotFound missing, 2: Refused refused),
  void check(1: i32 code) throws (1: Refused refused),
  void fail(1: string message),
  string no_result(),
  void nothing(),

  string defaults(1: string text = "text", 2: i32 times = 2, 3: optional Color color, 4: list<i32> more = [1, 2]),
  string arguments(1: string timeout, 2: string method, 3: string server, 4: string name),

  // Named like what a client itself has.
  string close(1: string s),
  string name(),
  string host(),
  string call(1: string s),
  string submit(1: string s),
  list<string> all(),
  list<string> servers(),

  // Soft keywords.
  string match(1: string case),
  string case(1: string type),
  string type(1: string match)
}
