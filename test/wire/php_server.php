<?php
// A server of PHP's thrift library: php php_server.php LIBRARY GEN KIND PORT STRICT
//
// With KIND http it is a router of PHP's own web server, and the arguments are in ARGUMENTS.

$arguments = isset($argv[1]) ? array_slice($argv, 1) : explode("\n", getenv('ARGUMENTS'));
[$library, $gen, $kind, $port, $strict] = $arguments;
spl_autoload_register(function ($class) use ($library) {
    $path = $library . str_replace(['Thrift\\', '\\'], ['/', '/'], $class) . '.php';
    if (is_file($path)) {
        require $path;
    }
});
foreach (glob("$gen/*.php") as $file) {
    require_once $file;
}

class Handler implements rich_serviceIf
{
    public function version() { return '1.0'; }
    public function add($a, $b) { return $a + $b; }
    public function echo($s) { return $s; }
}

$processor = new rich_serviceProcessor(new Handler());
$protocols = new Thrift\Factory\TBinaryProtocolFactory((bool) $strict, (bool) $strict);
if ($kind === 'http') {
    header('Content-Type: application/x-thrift');
    $stream = new Thrift\Transport\TPhpStream(
        Thrift\Transport\TPhpStream::MODE_R | Thrift\Transport\TPhpStream::MODE_W
    );
    $transport = new Thrift\Transport\TBufferedTransport($stream);
    $protocol = $protocols->getProtocol($transport);
    $transport->open();
    $processor->process($protocol, $protocol);
    $transport->close();
    return;
}
class Framing extends Thrift\Factory\TTransportFactory
{
    public static function getTransport(Thrift\Transport\TTransport $inner)
    {
        global $kind;
        return $kind === 'framed'
            ? new Thrift\Transport\TFramedTransport($inner, true, true)
            : new Thrift\Transport\TBufferedTransport($inner);
    }
}
$listener = new Thrift\Server\TServerSocket('127.0.0.1', (int) $port);
$transports = new Framing();
(new Thrift\Server\TSimpleServer(
    $processor, $listener, $transports, $transports, $protocols, $protocols
))->serve();
