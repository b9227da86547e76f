namespace py corpus.constants

enum Color { RED, GREEN = 5, BLUE, HEX = 0x10 }
typedef Color Paint
typedef map<string, list<i32>> Index

const bool YES = true
const bool NO = 0
const i8 SMALL = -128
const i16 SHORT = 0x7f
const i32 NUMBER = -2147483648
const i64 LARGE = 9223372036854775807
const double REAL = 1.5e3
const double WHOLE = 7
const string TEXT = "a \"quoted\" text\n"
const string OTHER = 'it\'s'
const binary RAW = "bytes"
const Color COLOR = Color.BLUE
const Paint PAINT = Paint.GREEN
const i32 AS_NUMBER = Color.HEX
const list<Color> COLORS = [Color.RED, Color.GREEN; Color.BLUE]
const set<i32> SET = [1, 2, 3]
const map<Color, string> NAMES = {Color.RED: "red", Color.GREEN: 'green'}
const Index INDEX = {"a": [1, 2], "b": []}
const list<map<string, set<double>>> NESTED = [{"x": [1, 2.5]}, {}]
struct Point { 1: i32 x = 1, 2: i32 y }

const Point ORIGIN = {"x": 0, "y": 0}
const Point ELSEWHERE = {"x": 3}
const list<Point> POINTS = [{"x": 1}, {"y": 2}]

struct Defaults {
  1: bool flag = true,
  2: i32 number = NUMBER,
  3: string text = TEXT,
  4: Color color = Color.BLUE,
  5: list<Color> colors = [Color.RED, 5],
  6: map<Color, string> names = {Color.BLUE: "blue"},
  7: set<string> words = ["one"],
  8: Point point = {"y": 4},
  9: list<Point> points = [{"x": 5, "y": 6}],
  10: optional string maybe = "said",
  11: required i64 must = LARGE,
  12: double real = 2,
  13: binary raw = "raw",
}
