// A Vulkan driver that is the one of DRIVER, but for the wait number LOSE_AT and those after it: the device is lost then.
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_LOST (-4)

typedef void (*function)(void);
typedef function (*finder)(void *, const char *);

static finder of_instance, of_physical_device, of_device;
static int (*wait_semaphores)(void *, const void *, uint64_t);
static int (*wait_fences)(void *, uint32_t, const void *, uint32_t, uint64_t);
static int waits;

static void *in_driver(const char *name) {
    static void *driver;
    driver = driver ? driver : dlopen(getenv("DRIVER"), RTLD_NOW);
    void *found = driver ? dlsym(driver, name) : NULL;
    if (!found) {
        abort();
    }
    return found;
}

static int is_lost(void) { return ++waits >= atoi(getenv("LOSE_AT")); }

static int semaphores(void *device, const void *what, uint64_t time) {
    return is_lost() ? DEVICE_LOST : wait_semaphores(device, what, time);
}

static int fences(void *device, uint32_t count, const void *what, uint32_t all, uint64_t time) {
    return is_lost() ? DEVICE_LOST : wait_fences(device, count, what, all, time);
}

static function ours(const char *name, function found) {
    if (found && (!strcmp(name, "vkWaitSemaphores") || !strcmp(name, "vkWaitSemaphoresKHR"))) {
        wait_semaphores = (int (*)(void *, const void *, uint64_t))found;
        return (function)semaphores;
    }
    if (found && !strcmp(name, "vkWaitForFences")) {
        wait_fences = (int (*)(void *, uint32_t, const void *, uint32_t, uint64_t))found;
        return (function)fences;
    }
    return found;
}

static function device_function(void *device, const char *name) { return ours(name, of_device(device, name)); }

function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    of_instance = of_instance ? of_instance : (finder)in_driver("vk_icdGetInstanceProcAddr");
    function found = of_instance(instance, name);
    if (found && !strcmp(name, "vkGetDeviceProcAddr")) {
        of_device = (finder)found;
        return (function)device_function;
    }
    return ours(name, found);
}

function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    of_physical_device = of_physical_device ? of_physical_device : (finder)in_driver("vk_icdGetPhysicalDeviceProcAddr");
    return of_physical_device(instance, name);
}

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    return ((int (*)(uint32_t *))in_driver("vk_icdNegotiateLoaderICDInterfaceVersion"))(version);
}
