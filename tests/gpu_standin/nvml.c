/* A small stand-in for NVIDIA's libnvidia-ml.so.1: the entry points that HiveMind calls through pynvml, with NVML's
 * own signatures, over devices that a text file describes. The file is read anew at every call, so a test changes the
 * machine by writing it. $NVML_STANDIN names it; no file is a machine whose driver is not loaded.
 *
 *   driver CODE                                   every call returns this NVML error
 *   gpu UUID NAME TOTAL RESERVED [KEY=N ...]      keys: ecc retired remap_pending remap_failed error xid mig no_v2 no_ecc
 *   mig PARENT_INDEX UUID TOTAL RESERVED          an instance of the device with that index
 *   proc UUID PID BYTES                           a process that computes; BYTES of -1: not to be known
 *   graphics UUID PID BYTES                       one that draws
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NO_DRIVER = 9,
       TIMEOUT = 10, FUNCTION_NOT_FOUND = 13 };
enum { MOST = 64, XID_EVENT = 8 };

typedef struct {
    char uuid[96], name[96];
    unsigned long long total, reserved;
    int ecc, retired, remap_pending, remap_failed, error, xid, mig, no_v2, no_ecc, parent, instance;
} Device;
typedef struct { char uuid[96]; unsigned pid; unsigned long long bytes; int graphics; } Process;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } ProcessInfo;
typedef struct { void *device; unsigned long long type, data; unsigned gi, ci; } EventData;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } MemoryV2;

static Device devices[MOST];
static Process processes[256];
static int count, process_count, initialised, told_xid[MOST];
static int handles[MOST]; /* a handle points here: its place is the device's number */

static int number(const char *line, const char *key) {
    const char *at = strstr(line, key);
    return at ? atoi(at + strlen(key)) : 0;
}

static int load(void) {
    char line[512];
    const char *path = getenv("NVML_STANDIN");
    FILE *file = path ? fopen(path, "r") : NULL;
    int driver = 0;
    count = process_count = 0;
    if (!file) return NO_DRIVER;
    while (fgets(line, sizeof line, file)) {
        Device d;
        Process p;
        memset(&d, 0, sizeof d);
        memset(&p, 0, sizeof p);
        d.parent = -1;
        if (sscanf(line, "driver %d", &driver) == 1) continue;
        if (sscanf(line, "gpu %95s %95s %llu %llu", d.uuid, d.name, &d.total, &d.reserved) == 4) {
            d.ecc = number(line, " ecc="); d.retired = number(line, " retired=");
            d.remap_pending = number(line, " remap_pending="); d.remap_failed = number(line, " remap_failed=");
            d.error = number(line, " error="); d.xid = number(line, " xid="); d.mig = number(line, " mig=");
            d.no_v2 = number(line, " no_v2="); d.no_ecc = number(line, " no_ecc=");
            if (count < MOST) devices[count++] = d;
        } else if (sscanf(line, "mig %d %95s %llu %llu", &d.parent, d.uuid, &d.total, &d.reserved) == 4) {
            int before = 0;
            for (int i = 0; i < count; i++) before += devices[i].parent == d.parent;
            d.instance = before;
            strcpy(d.name, "MIG");
            if (count < MOST) devices[count++] = d;
        } else if (sscanf(line, "proc %95s %u %lld", p.uuid, &p.pid, (long long *)&p.bytes) == 3) {
            processes[process_count++] = p;
        } else if (sscanf(line, "graphics %95s %u %lld", p.uuid, &p.pid, (long long *)&p.bytes) == 3) {
            p.graphics = 1;
            processes[process_count++] = p;
        }
    }
    fclose(file);
    return driver;
}

static int place(void *handle) { return (int)((int *)handle - handles); }

static int find(void *handle, Device **device) {
    int error = initialised ? load() : UNINITIALIZED;
    if (error) return error;
    if (place(handle) < 0 || place(handle) >= count) return INVALID;
    *device = &devices[place(handle)];
    return (*device)->error;
}
#define DEVICE Device *d; int error = find(handle, &d); if (error) return error

int nvmlInitWithFlags(unsigned flags) { (void)flags; int error = load(); if (!error) initialised = 1; return error; }
int nvmlShutdown(void) { initialised = 0; return OK; }
const char *nvmlErrorString(int code) {
    switch (code) {
    case NO_DRIVER: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    case 999: return "Unknown Error";
    default: return "an error of the stand-in";
    }
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "standin"); return OK; }

int nvmlDeviceGetCount_v2(unsigned *n) {
    int error = initialised ? load() : UNINITIALIZED;
    *n = 0;
    for (int i = 0; i < count; i++) *n += devices[i].parent < 0;
    return error;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    int error = initialised ? load() : UNINITIALIZED;
    if (error) return error;
    for (int i = 0; i < count; i++)
        if (devices[i].parent < 0 && index-- == 0) { *handle = &handles[i]; return OK; }
    return INVALID;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) { DEVICE; snprintf(text, size, "%s", d->uuid); return OK; }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    DEVICE;
    snprintf(text, size, "%s", d->name);
    for (char *c = text; *c; c++) if (*c == '_') *c = ' ';
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *handle, Memory *m) {
    DEVICE;
    m->total = d->total; m->used = d->reserved; m->free = d->total - d->reserved;
    return OK;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, MemoryV2 *m) {
    DEVICE;
    if (d->no_v2) return FUNCTION_NOT_FOUND;
    if (m->version != (sizeof *m | 2u << 24)) return 25;
    m->total = d->total; m->reserved = d->reserved; m->used = 0; m->free = d->total - d->reserved;
    return OK;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *pending) {
    DEVICE;
    if (d->no_ecc) return UNSUPPORTED;
    *now = *pending = (unsigned)d->mig;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *n) { DEVICE; *n = d->mig ? 7 : 0; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
    int index_of_parent = 0;
    DEVICE;
    for (int i = 0; i < place(handle); i++) index_of_parent += devices[i].parent < 0;
    for (int i = 0; i < count; i++)
        if (devices[i].parent == index_of_parent && devices[i].instance == (int)index) { *out = &handles[i]; return OK; }
    return NOT_FOUND;
}
int nvmlDeviceGetTotalEccErrors(void *handle, int type, int counter, unsigned long long *n) {
    DEVICE;
    if (d->no_ecc || d->parent >= 0) return UNSUPPORTED;
    *n = type == 1 && counter == 0 ? (unsigned long long)d->ecc : 0; /* uncorrected, since the driver was loaded */
    return OK;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *handle, int *pending) {
    DEVICE;
    if (d->no_ecc || d->parent >= 0) return UNSUPPORTED;
    *pending = d->retired;
    return OK;
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corr, unsigned *uncorr, unsigned *pending, unsigned *failed) {
    DEVICE;
    if (d->no_ecc || d->parent >= 0) return UNSUPPORTED;
    *corr = *uncorr = 0; *pending = (unsigned)d->remap_pending; *failed = (unsigned)d->remap_failed;
    return OK;
}

static int running(void *handle, unsigned *n, ProcessInfo *out, int graphics) {
    unsigned found = 0, room = *n;
    DEVICE;
    for (int i = 0; i < process_count; i++) {
        if (strcmp(processes[i].uuid, d->uuid) || processes[i].graphics != graphics) continue;
        if (out && found < room) out[found] = (ProcessInfo){ processes[i].pid, processes[i].bytes, 0, 0 };
        found++;
    }
    *n = found;
    return found && (!out || found > room) ? TOO_SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *n, ProcessInfo *out) { return running(handle, n, out, 0); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *n, ProcessInfo *out) { return running(handle, n, out, 1); }

int nvmlEventSetCreate(void **set) { *set = told_xid; return initialised ? OK : UNINITIALIZED; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }
int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set) {
    (void)set; (void)types;
    DEVICE;
    if (d->no_ecc) return UNSUPPORTED;
    told_xid[place(handle)] = d->xid; /* what happened before is not told */
    return OK;
}
int nvmlEventSetWait_v2(void *set, EventData *data, unsigned timeout) {
    (void)set; (void)timeout;
    int error = initialised ? load() : UNINITIALIZED;
    if (error) return error;
    for (int i = 0; i < count; i++)
        if (devices[i].xid != told_xid[i]) {
            told_xid[i] = devices[i].xid;
            memset(data, 0, sizeof *data);
            data->device = &handles[i]; data->type = XID_EVENT; data->data = (unsigned long long)devices[i].xid;
            return OK;
        }
    return TIMEOUT;
}
