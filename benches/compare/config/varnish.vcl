# Varnish: the built-in rules. It speaks no TLS. One core is given to its threads from outside (taskset).
vcl 4.1;
backend origin {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}
sub vcl_recv {
    if (req.url ~ "^/[pu]/") {
        return (pass);
    }
    @ROUTES@
}
