// What several services share; rich.thrift inherits from it across modules.

namespace py shared.base

struct Stamp {
  1: i64 at,
  2: string by
}

exception Outdated {
  1: string version
}

service base_service {
  string version(),
  Stamp stamped(1: Stamp stamp),
  void require(1: string version) throws (1: Outdated outdated),
  oneway void note(1: string token)
}
