import CLinux
import Glibc

/// Clocks in nanoseconds.
package enum SystemClock {
    /// Time since 1970 by the wall clock, which can jump.
    package static var wall: Int64 { hf_clock(0) }
    /// Time that only goes forward; stands still while the machine sleeps.
    package static var monotonic: Int64 { hf_clock(1) }
    /// Time since the machine started, time asleep included.
    package static var sinceBoot: Int64 { hf_clock(2) }
    /// CPU time of this process.
    package static var processCPU: Int64 { hf_clock(3) }
    /// The wall clock as local file systems see it: it goes in steps of 1 to 10 ms.
    package static var ofFiles: Int64 { hf_clock(4) }

    /// Waits. Blocks the thread: for dedicated ones.
    package static func pause(milliseconds: Int) {
        if milliseconds > 0 { poll(nil, 0, Int32(clamping: milliseconds)) }
    }
}

/// Facts of the machine this process runs on.
package enum Machine {
    /// The name of the host.
    package static var hostName: String {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        let name = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return name.isEmpty ? "localhost" : name
    }

    /// The version of the running kernel as `uname -r` says it; empty where `/proc` is missing.
    package static var kernelRelease: String {
        let text = smallFile("/proc/sys/kernel/osrelease") ?? []
        return String(decoding: text.prefix { $0 > 0x20 }, as: UTF8.self)
    }

    /// The 16 bytes of `/etc/machine-id`; `nil` when the machine has none.
    package static var machineID: [UInt8]? { identifier("/etc/machine-id") ?? identifier("/var/lib/dbus/machine-id") }

    /// 16 bytes that are new at each start of the machine; `nil` where `/proc` is missing.
    package static var bootID: [UInt8]? { identifier("/proc/sys/kernel/random/boot_id") }

    /// The IANA name of the time zone, for example "Europe/London"; "UTC" when it cannot be found out.
    package static var timeZoneName: String {
        if let value = environment("TZ") {
            var name = Substring(value)
            if name.first == ":" { name = name.dropFirst() }
            if let zone = zoneName(inPath: String(name)) { return zone }
            if !name.isEmpty && !name.hasPrefix("/") && isZone(String(name)) { return String(name) }
        }
        if let target = try? FileSystem.linkTarget(at: FileSystem.currentDirectory, "/etc/localtime"),
            let zone = zoneName(inPath: String(decoding: target, as: UTF8.self))
        {
            return zone
        }
        if let text = smallFile("/etc/timezone") {
            let name = String(decoding: text.prefix { $0 > 0x20 }, as: UTF8.self)
            if isZone(name) { return name }
        }
        return "UTC"
    }

    /// CPUs this process may use, at least 1.
    package static var processorCount: Int { max(hf_cpu_count(), 1) }

    /// An environment variable, when it is set to something.
    package static func environment(_ name: String) -> String? {
        guard let value = getenv(name), value[0] != 0 else { return nil }
        return String(cString: value)
    }

    /// 32 hexadecimal digits, with or without dashes, as 16 bytes.
    private static func identifier(_ path: String) -> [UInt8]? {
        guard let text = smallFile(path) else { return nil }
        var digits: [UInt8] = []
        for byte in text.prefix(while: { $0 > 0x20 }) where byte != UInt8(ascii: "-") {
            guard let digit = Character(UnicodeScalar(byte)).hexDigitValue else { return nil }
            digits.append(UInt8(digit))
        }
        guard digits.count == 32 else { return nil }
        return (0..<16).map { digits[2 * $0] << 4 | digits[2 * $0 + 1] }
    }

    private static func smallFile(_ path: String) -> [UInt8]? {
        guard let file = try? FileDescriptor.open(path, [.readOnly, .followLink]) else { return nil }
        return try? file.readAll(limit: 64 * 1024)
    }

    private static func zoneName(inPath path: String) -> String? {
        guard let range = path.range(ofPart: "zoneinfo/") else { return nil }
        var name = path[range.upperBound...]
        for variant in ["posix/", "right/"] where name.hasPrefix(variant) { name = name.dropFirst(variant.count) }
        return name.isEmpty ? nil : String(name)
    }

    private static func isZone(_ name: String) -> Bool {
        if name.isEmpty || name.utf8.contains(0) || name.contains("..") { return false }
        let status = try? FileSystem.statusFollowing("/usr/share/zoneinfo/\(name)")
        return status?.kind == .regular || name == "UTC"
    }
}

extension String {
    /// Where a part stands first; Foundation's version is not wanted here.
    fileprivate func range(ofPart part: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(part) { return start..<index(start, offsetBy: part.count) }
            start = index(after: start)
        }
        return nil
    }
}

/// Limits and use of this process.
package enum ProcessLimits {
    /// Raises the number of files this process may open to what the system allows; returns what now holds.
    @discardableResult
    package static func raiseOpenFiles() -> Int { max(hf_raise_open_files(), 256) }

    /// Most memory that was resident at once, in bytes.
    package static var peakMemory: Int { statusLine("VmHWM:") ?? max(hf_peak_memory(), 0) }

    /// Memory resident now, in bytes; 0 where `/proc` is missing.
    package static var currentMemory: Int { statusLine("VmRSS:") ?? 0 }

    /// Gives memory that was freed back to the system.
    package static func trimMemory() { hf_trim_memory() }

    /// Keeps the heap from holding on to large freed buffers. Call first thing, before other threads start.
    package static func boundMemory() { hf_bound_memory() }

    /// Gives this thread and those it starts less weight than others have, for CPU and disk; they go on, however busy the
    /// machine is.
    package static func giveWay() throws(Errno) { try retrying { hf_give_way() } }

    /// Puts this thread and those it starts behind all others for CPU and disk.
    package static func lowerPriority() throws(Errno) { try retrying { hf_lower_priority() } }

    /// A line of /proc/self/status in kB, as bytes. (`ru_maxrss` counts the parent before exec.)
    private static func statusLine(_ key: String) -> Int? {
        guard let file = try? FileDescriptor.open("/proc/self/status", .readOnly),
            let text = try? file.readAll(limit: 64 * 1024)
        else { return nil }
        for line in text.split(separator: 0x0A) where line.starts(with: key.utf8) {
            let digits = line.filter { (0x30...0x39).contains($0) }
            return Int(String(decoding: digits, as: UTF8.self)).map { $0 * 1024 }
        }
        return nil
    }
}
