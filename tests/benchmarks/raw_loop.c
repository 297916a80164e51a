/* The physical limit: read P-DATA from a socket, write the data set to a file, fsync, answer.
 *
 * One process per connection. It accepts every presentation context with its first transfer
 * syntax and checks nothing, so it is no receiver: it is what the disk and the network leave.
 * With ``all`` it syncs what a receiver has to sync that also promises directory entry and row: the
 * folder, and then a page of a log that has its full length already.
 * Usage: raw_loop PORT FOLDER [all]
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { ASSOCIATE_RQ = 1, P_DATA = 4, RELEASE_RQ = 5, MAX_PDU = 131072 };
enum { LOG_PAGE = 4096, LOG_PAGES = 1024 };
static unsigned char pdu[MAX_PDU + 6];
static unsigned char answer[65536];

static uint32_t big32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}
static uint32_t big16(const unsigned char *p) { return p[0] << 8 | p[1]; }
static uint32_t little32(const unsigned char *p) {
    return (uint32_t)p[3] << 24 | p[2] << 16 | p[1] << 8 | p[0];
}
static void put_big32(unsigned char *p, uint32_t v) {
    p[0] = v >> 24; p[1] = v >> 16; p[2] = v >> 8; p[3] = v;
}
static void put_big16(unsigned char *p, uint32_t v) { p[0] = v >> 8; p[1] = v; }

static void must(int good, const char *what) {
    if (!good) { perror(what); exit(1); }
}
static int read_all(int from, unsigned char *into, size_t count) {
    while (count > 0) {
        ssize_t got = read(from, into, count);
        if (got <= 0) return 0;
        into += got; count -= got;
    }
    return 1;
}
static void write_all(int to, const unsigned char *from, size_t count) {
    while (count > 0) {
        ssize_t put = write(to, from, count);
        must(put > 0, "write");
        from += put; count -= put;
    }
}

static void accept_association(int peer, const unsigned char *body, uint32_t length) {
    unsigned char *out = answer + 6;
    memcpy(out, body, 68);
    out += 68;
    for (uint32_t at = 68; at + 4 <= length;) {
        uint32_t kind = body[at], size = big16(body + at + 2);
        const unsigned char *value = body + at + 4;
        if (kind == 0x10) {
            memcpy(out, body + at, size + 4);
            out += size + 4;
        } else if (kind == 0x20) {
            uint32_t sub = 4;
            while (value[sub] != 0x40) sub += 4 + big16(value + sub + 2);
            uint32_t syntax = 4 + big16(value + sub + 2);
            out[0] = 0x21; out[1] = 0; put_big16(out + 2, 4 + syntax);
            out[4] = value[0]; out[5] = out[6] = out[7] = 0;
            memcpy(out + 8, value + sub, syntax);
            out += 8 + syntax;
        }
        at += 4 + size;
    }
    out[0] = 0x50; out[1] = 0; put_big16(out + 2, 8);
    out[4] = 0x51; out[5] = 0; put_big16(out + 6, 4); put_big32(out + 8, MAX_PDU);
    out += 12;
    answer[0] = 2; answer[1] = 0; put_big32(answer + 2, out - answer - 6);
    write_all(peer, answer, out - answer);
}

/* Turn the request's own command set into a response: field 8001H, no data set, status 0. */
static void answer_store(int peer, unsigned context, const unsigned char *command, uint32_t length) {
    unsigned char *out = answer + 12;
    uint32_t size = 0;
    for (uint32_t at = 0; at + 8 <= length; at += 8 + little32(command + at + 4)) {
        uint32_t element = command[at + 2] | command[at + 3] << 8, part = 8 + little32(command + at + 4);
        if (element == 0x0700) continue;
        memcpy(out + size, command + at, part);
        if (element == 0x0100) out[size + 9] = 0x80;
        if (element == 0x0110) out[size + 2] = 0x20;
        if (element == 0x0800) { out[size + 8] = 1; out[size + 9] = 1; }
        size += part;
    }
    memcpy(out + size, "\0\0\0\011\2\0\0\0\0\0", 10);
    size += 10;
    answer[0] = P_DATA; answer[1] = 0; put_big32(answer + 2, size + 6);
    put_big32(answer + 6, size + 2); answer[10] = context; answer[11] = 3;
    write_all(peer, answer, size + 12);
}

static int open_log(const char *folder) {
    static const unsigned char page[LOG_PAGE];
    char path[4096];
    snprintf(path, sizeof path, "%s/%d.log", folder, getpid());
    int log = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    must(log >= 0, "open");
    for (int number = 0; number < LOG_PAGES; number++) write_all(log, page, LOG_PAGE);
    must(fsync(log) == 0, "fsync");
    return log;
}

/* Put directory entry and row on disk, the row after the file as in any database that refers to it. */
static void sync_rest(int directory, int log, unsigned long number, const unsigned char *row) {
    must(fsync(directory) == 0, "fsync");
    off_t at = (off_t)(number % LOG_PAGES) * LOG_PAGE;
    must(pwrite(log, row, LOG_PAGE, at) == LOG_PAGE, "pwrite");
    must(fdatasync(log) == 0, "fdatasync");
}

static void serve(int peer, const char *folder, int syncs_all) {
    static unsigned char command[65536];
    uint32_t command_length = 0;
    unsigned long number = 0;
    int file = -1, on = 1, log = -1, directory = -1;
    char path[4096];
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (syncs_all) {
        log = open_log(folder);
        must((directory = open(folder, O_RDONLY | O_DIRECTORY)) >= 0, "open");
    }
    while (read_all(peer, pdu, 6)) {
        uint32_t length = big32(pdu + 2);
        must(length <= MAX_PDU && read_all(peer, pdu + 6, length), "PDU");
        if (pdu[0] == ASSOCIATE_RQ) { accept_association(peer, pdu + 6, length); continue; }
        if (pdu[0] == RELEASE_RQ) { write_all(peer, (unsigned char *)"\6\0\0\0\0\4\0\0\0\0", 10); return; }
        for (uint32_t at = 6; at < 6 + length;) {
            uint32_t size = big32(pdu + at) - 2;
            unsigned context = pdu[at + 4], header = pdu[at + 5];
            const unsigned char *data = pdu + at + 6;
            at += 6 + size;
            if (header & 1) {
                memcpy(command, data, size);
                command_length = size;
                continue;
            }
            if (file < 0) {
                snprintf(path, sizeof path, "%s/%d-%lu", folder, getpid(), number++);
                file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
                must(file >= 0, "open");
            }
            write_all(file, data, size);
            if (header & 2) {
                must(fsync(file) == 0, "fsync");
                if (syncs_all) sync_rest(directory, log, number, pdu);
                close(file);
                file = -1;
                answer_store(peer, context, command, command_length);
            }
        }
    }
}

int main(int count, char **arguments) {
    int syncs_all = count == 4 && strcmp(arguments[3], "all") == 0;
    must(count == 3 || syncs_all, "usage: raw_loop PORT FOLDER [all]");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 64) == 0, "listen");
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        must(peer >= 0, "accept");
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            serve(peer, arguments[2], syncs_all);
            exit(0);
        }
        close(peer);
    }
}
