# A comment of the shell's kind, and é that is not UTF-8.
/*
/**/
namespace py corpus.lenient

struct Lenient {
  i32 first
  1: string second;
  -7: double third,
  i64 fourth, /** A doc after a field. */
  0x10: list<string> cpp_type "x" fifth
}
struct Xsd xsd_all { 1: optional string a xsd_optional xsd_nillable xsd_attrs { 1: string inner } }
enum Separated { A; B, C D = 7; }
const list<i32> GAPS = [1 2; 3, 4]
const map<string, i32> PAIRS = {"a": 1; "b": 2 "c": 3}
service Old {
  async void fire(string what) (x = "y");
  void unnumbered(i32 a, string b)
  string mixed(1: i32 a; 2: list<i32> b,)
}
