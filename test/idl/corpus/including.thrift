namespace py corpus.including

include "left/common.thrift"
include "right/common.thrift"
include "dotted.name.thrift"

struct Both {
  1: common.OnTheLeft left,
  2: common.OnTheRight right = {"way": common.Way.RIGHT, "ways": [common.Way.STRAIGHT]},
  3: map<common.Way, list<dotted.name.Dotted>> dotted,
  4: dotted.name.Directions directions = [common.Way.RIGHT, 3],
  5: optional Later later,
}

typedef Later AlsoLater

struct Later { 1: i32 limit = common.LEFT_LIMIT, 2: list<AlsoLater> more }

service Traveller extends dotted.name.Guide {
  Both both(1: Both both, 2: AlsoLater later) throws (1: dotted.name.Lost lost),
}
