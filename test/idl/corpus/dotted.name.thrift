namespace py corpus.dotted

include "right/common.thrift"

typedef common.Way Direction
typedef list<Direction> Directions

struct Dotted { 1: Direction direction, 2: Directions all = [common.Way.RIGHT] }
exception Lost { 1: Direction direction; 2: string why }
service Guide extends common.Parent {
  Directions route(1: string where) throws (1: Lost lost)
}
