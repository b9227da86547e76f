// What every kind of generated code inherits from, in a namespace and module of its own.

namespace py base.of_variant

struct Stamp {
  1: i64 at,
  2: string by
}

// Exceptions are immutable unless their IDL says otherwise.
exception Rigid {
  1: string reason
}

service parent {
  string version(),
  Stamp stamped(1: Stamp stamp),
  void require(1: string version) throws (1: Rigid rigid),
  oneway void note(1: string token)
}
