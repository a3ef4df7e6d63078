/* The load generator of load.py, compiled: one thread, epoll, keep-alive connections, answers counted by status.
 *
 * load HOST_IPV4 PORT CLIENTS SECONDS REQUEST_FILE...
 * Each file is a whole HTTP/1.1 request. Prints one JSON line: answers of status 200 a second, median and 99th
 * percentile of their seconds, how many there were, how many answers were 503, how many requests failed otherwise,
 * and the CPU seconds that all this took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 16384
#define GRACE_SECONDS 60.0
#define MAX_FAILURES 10000

struct request { char *bytes; size_t length; };
struct client {
    int fd, turn, status, closes;
    size_t sent, have, left; /* `left`: bytes of the body still to come, once `status` is known */
    double begun;
    char head[HEAD_BYTES + 1];
};

static struct request *requests;
static int request_count, epoll_fd, active;
static struct sockaddr_in address;
static double end_at, *took;
static size_t done, room, refused, failed;
static char first_failure[160];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static void note_failure(const char *what) {
    if (!first_failure[0]) snprintf(first_failure, sizeof first_failure, "%.150s", what);
    if (++failed > MAX_FAILURES) { fprintf(stderr, "too many failures: %s\n", first_failure); exit(1); }
}

static void watch(struct client *c, int operation, unsigned events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &e)) die("epoll_ctl");
}

static void open_connection(struct client *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void start(struct client *c) {
    c->sent = c->have = c->left = 0;
    c->status = c->closes = 0;
    c->begun = now();
    if (c->begun >= end_at) { close(c->fd); active--; return; }
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void start_anew(struct client *c) {
    close(c->fd);
    if (now() >= end_at) { active--; return; }
    open_connection(c);
    start(c);
}

static void finish(struct client *c) {
    if (c->status == 200) {
        if (done == room) {
            room = room ? 2 * room : 65536;
            if (!(took = realloc(took, room * sizeof *took))) die("realloc");
        }
        took[done++] = now() - c->begun;
    } else if (c->status == 503) {
        refused++;
    } else {
        note_failure(c->head);
    }
    c->turn = (c->turn + 1) % request_count;
    if (c->closes) start_anew(c);
    else start(c);
}

static void send_more(struct client *c) {
    struct request *r = &requests[c->turn];
    while (c->sent < r->length) {
        ssize_t n = send(c->fd, r->bytes + c->sent, r->length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) break; /* it may have answered before it closed: read that */
        c->sent += (size_t)n;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void parse_head(struct client *c) {
    char *body = strstr(c->head, "\r\n\r\n"), *length;
    if (!body) return;
    *body = 0;
    c->status = atoi(c->head + 9);
    c->closes = strcasestr(c->head, "\nconnection: close") != NULL;
    length = strcasestr(c->head, "\ncontent-length:");
    size_t had = c->have - (size_t)(body + 4 - c->head), whole = length ? strtoull(length + 16, NULL, 10) : 0;
    if (!length) c->status = -1;
    c->left = whole > had ? whole - had : 0;
}

static void read_more(struct client *c) {
    static char body[65536];
    for (;;) {
        ssize_t n = c->status ? recv(c->fd, body, sizeof body, 0)
                              : recv(c->fd, c->head + c->have, HEAD_BYTES - c->have, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            note_failure(n ? strerror(errno) : "the connection was closed before an answer");
            start_anew(c);
            return;
        }
        if (c->status) {
            c->left = (size_t)n > c->left ? 0 : c->left - (size_t)n;
        } else {
            c->have += (size_t)n;
            c->head[c->have] = 0;
            parse_head(c);
            if (!c->status && c->have == HEAD_BYTES) { note_failure("the head is too long"); start_anew(c); return; }
        }
        if (c->status && !c->left) { finish(c); return; }
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 6) { fprintf(stderr, "load HOST_IPV4 PORT CLIENTS SECONDS REQUEST_FILE...\n"); return 2; }
    int clients = atoi(argv[3]);
    request_count = argc - 5;
    requests = calloc((size_t)request_count, sizeof *requests);
    for (int i = 0; i < request_count; i++) {
        struct stat s;
        FILE *file = fopen(argv[5 + i], "rb");
        if (!file || fstat(fileno(file), &s)) die(argv[5 + i]);
        requests[i].length = (size_t)s.st_size;
        requests[i].bytes = malloc(requests[i].length);
        if (fread(requests[i].bytes, 1, requests[i].length, file) != requests[i].length) die(argv[5 + i]);
        fclose(file);
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) { fprintf(stderr, "%s is no address\n", argv[1]); return 2; }
    if ((epoll_fd = epoll_create1(0)) < 0) die("epoll_create1");
    struct client *all = calloc((size_t)clients, sizeof *all);
    double begun = now();
    end_at = begun + atof(argv[4]);
    for (active = 0; active < clients; active++) {
        all[active].turn = (int)((long)active * request_count / clients);
        open_connection(&all[active]);
        all[active].begun = begun;
    }
    struct epoll_event events[256];
    while (active > 0 && now() < end_at + GRACE_SECONDS) {
        int count = epoll_wait(epoll_fd, events, 256, 1000);
        for (int i = 0; i < count; i++) {
            struct client *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_more(c);
            else read_more(c);
        }
    }
    double wall = now() - begun;
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    qsort(took, done, sizeof *took, ascending);
    if (failed) fprintf(stderr, "%zu failed, the first: %s\n", failed, first_failure);
    printf("{\"rate\": %.3f, \"median_s\": %.6f, \"p99_s\": %.6f, \"count\": %zu, \"refused\": %zu, \"failed\": %zu,"
           " \"unanswered\": %d, \"cpu_s\": %.3f, \"wall_s\": %.3f}\n",
           (double)done / wall, done ? took[done / 2] : 0.0, done ? took[done * 99 / 100] : 0.0, done, refused,
           failed, active, cpu, wall);
    return 0;
}
