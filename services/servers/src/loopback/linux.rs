//! Redirects a child's `bind(2)` calls to loopback with a seccomp filter.
//!
//! Milvus 2.3.5 binds most of its ports on all interfaces without a password, and no setting changes
//! that. A seccomp filter, installed between fork and exec, turns each `bind(2)` call into a
//! notification (Linux ≥ 5.6, no privileges needed). A thread of this process then performs the call
//! on the child's socket with the address changed to loopback. The child is otherwise unaffected;
//! its thread waits only while it binds.
//!
//! If the system refuses any part of this, the child runs without the filter, and a warning is
//! logged: by [`BindHandshake::serve_binds`] for the whole filter, by the thread for single calls.
//!
//! The filter corrects a well-meaning program. It does not confine a hostile one, which could bind
//! through another system call interface.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7; // AUDIT_ARCH_AARCH64

/// Size of the largest address of any family (`struct sockaddr_storage`).
const ADDRESS_BYTES: usize = 128;

/// This process's end of the channel on which the child sends the listener of its filter.
pub(crate) struct BindHandshake {
    from_child: UnixStream,
}

/// Makes `command` install the filter before exec. Call [`BindHandshake::serve_binds`] after the
/// spawn: until then the child's binds wait.
pub(crate) fn prepare_command(command: &mut Command) -> io::Result<BindHandshake> {
    let (from_child, to_us) = UnixStream::pair()?;
    let send_filter = move || {
        let listener = install_filter();
        send_listener(to_us.as_raw_fd(), &listener)
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls on memory of its own
    // stack, allocates nothing and takes no lock.
    unsafe { command.pre_exec(send_filter) };
    Ok(BindHandshake { from_child })
}

impl BindHandshake {
    /// Serves the binds of the child and its descendants, on a thread that ends with them.
    pub(crate) fn serve_binds(self, name: &'static str) {
        let listener = match receive_listener(&self.from_child) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(server = name, %error, "THE SERVER LISTENS ON ALL NETWORK INTERFACES WITHOUT A PASSWORD: this system does not support redirecting its sockets to loopback (seccomp user notification); use a firewall, or run your own server");
                return;
            }
        };
        let thread = std::thread::Builder::new().name("loopback".to_owned());
        if let Err(error) = thread.spawn(move || serve_notifications(&listener, name)) {
            // The listener is closed with the closure. Each bind now fails in the child, which exits
            // with a message of its own.
            tracing::error!(server = name, %error, "cannot start the thread that serves a server's binds");
        }
    }
}

/// Installs the filter. Runs in the child.
fn install_filter() -> io::Result<OwnedFd> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    // `struct seccomp_data` starts with the number of the system call and the architecture. Jumps
    // are relative to the next step.
    let mut steps = [
        step(load, 0, 0, 4),
        step(if_equal, 0, 3, ARCH),
        step(load, 0, 0, 0),
        step(if_equal, 0, 1, libc::SYS_bind as u32),
        step(give, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: plain system calls; `program` and `steps` outlive them. The returned
    // descriptor is new and has no other owner.
    unsafe {
        // An unprivileged process may install a filter only if it cannot gain privileges.
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        let install = |flags: libc::c_ulong| {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        // Linux ≥ 5.19 can keep signals (Go sends many to its threads) from interrupting a bind in
        // progress. On older kernels `bind_socket` handles the repeated call.
        let mut listener = install(
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        );
        if listener < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            listener = install(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        }
        if listener < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(listener as RawFd))
    }
}

/// Creates a message header for four bytes and one descriptor as ancillary data. The caller owns both
/// buffers and keeps them alive as long as the header is used.
fn message_header(
    payload: &mut libc::iovec,
    ancillary: &mut [u64; 4],
    ancillary_bytes: usize,
) -> libc::msghdr {
    // SAFETY: a plain C struct for which all zeros is valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = payload;
    header.msg_iovlen = 1;
    if ancillary_bytes > 0 {
        header.msg_control = ancillary.as_mut_ptr().cast();
        header.msg_controllen = ancillary_bytes as _;
    }
    header
}

const DESCRIPTOR_BYTES: u32 = size_of::<RawFd>() as u32;

/// Sends the listener, or the error number if there is none. Runs in the child.
fn send_listener(socket: RawFd, listener: &io::Result<OwnedFd>) -> io::Result<()> {
    let refusal = match listener {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    let mut bytes = refusal.to_ne_bytes();
    let mut payload = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut ancillary = [0u64; 4];
    // SAFETY: the header points to locals that outlive the calls, and `ancillary` has room for
    // one descriptor (24 bytes with its header).
    let sent = unsafe {
        let space = libc::CMSG_SPACE(DESCRIPTOR_BYTES) as usize;
        let length = if listener.is_ok() { space } else { 0 };
        let message = message_header(&mut payload, &mut ancillary, length);
        if let Ok(listener) = listener {
            let control = libc::CMSG_FIRSTHDR(&message);
            (*control).cmsg_level = libc::SOL_SOCKET;
            (*control).cmsg_type = libc::SCM_RIGHTS;
            (*control).cmsg_len = libc::CMSG_LEN(DESCRIPTOR_BYTES) as _;
            libc::CMSG_DATA(control)
                .cast::<RawFd>()
                .write_unaligned(listener.as_raw_fd());
        }
        libc::sendmsg(socket, &message, 0)
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives the listener that the child sent before exec.
fn receive_listener(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut bytes = [0u8; 4];
    let mut payload = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut ancillary = [0u64; 4];
    // SAFETY: the header points to locals that outlive the calls. A received descriptor is
    // new and owned by this process.
    unsafe {
        let mut message = message_header(&mut payload, &mut ancillary, size_of::<[u64; 4]>());
        let length = libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC);
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let control = libc::CMSG_FIRSTHDR(&message);
        if !control.is_null() && (*control).cmsg_type == libc::SCM_RIGHTS {
            let descriptor = libc::CMSG_DATA(control).cast::<RawFd>().read_unaligned();
            return Ok(OwnedFd::from_raw_fd(descriptor));
        }
    }
    Err(io::Error::from_raw_os_error(i32::from_ne_bytes(bytes)))
}

/// Decision about one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BindAnswer {
    /// The kernel executes the call as the child made it.
    Continue,
    /// This process executed the call; it returns this error number, or 0.
    Completed(libc::c_int),
}

fn serve_notifications(listener: &OwnedFd, name: &'static str) {
    let fd = listener.as_raw_fd();
    let mut warned = false;
    loop {
        let mut ready = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `ready` outlives the call.
        if unsafe { libc::poll(&mut ready, 1, -1) } < 0 {
            continue;
        }
        if ready.revents & libc::POLLIN == 0 {
            return; // The last process with this filter has ended.
        }
        // SAFETY: the kernel requires a zeroed `seccomp_notif` and fills it in.
        let call = unsafe {
            let mut call: libc::seccomp_notif = mem::zeroed();
            if libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) != 0 {
                continue; // Interrupted, or the caller has died.
            }
            call
        };
        let answer = answer_bind(fd, &call).unwrap_or_else(|error| {
            if !mem::replace(&mut warned, true) {
                tracing::warn!(server = name, %error, "A SOCKET OF THE SERVER MAY LISTEN ON ALL NETWORK INTERFACES: this system does not support changing its address to loopback");
            }
            BindAnswer::Continue
        });
        let (error, flags) = match answer {
            BindAnswer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            BindAnswer::Completed(error) => (-error, 0),
        };
        let mut response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error,
            flags,
        };
        // A caller that has died meanwhile needs no answer.
        // SAFETY: `response` outlives the call.
        unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) };
    }
}

/// Decides one call, and executes it if the address must change.
fn answer_bind(listener: RawFd, call: &libc::seccomp_notif) -> io::Result<BindAnswer> {
    let caller = call.pid.cast_signed();
    let [socket, pointer, length, ..] = call.data.args;
    let length = (length as usize).min(ADDRESS_BYTES);
    let mut address = [0u8; ADDRESS_BYTES];
    let ours = libc::iovec {
        iov_base: address.as_mut_ptr().cast(),
        iov_len: length,
    };
    let theirs = libc::iovec {
        iov_base: pointer as *mut _,
        iov_len: length,
    };
    // SAFETY: writes at most `length` bytes to `address`, which has room for them; an invalid pointer
    // of the caller is an error.
    let read = unsafe { libc::process_vm_readv(caller, &ours, 1, &theirs, 1, 0) };
    if read < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EFAULT) => Ok(BindAnswer::Continue), // The kernel reports the same to the caller.
            _ => Err(error),
        };
    }
    if !is_reachable_remotely(&address[..read.cast_unsigned()]) {
        return Ok(BindAnswer::Continue);
    }
    let socket = borrow_socket(caller, socket as libc::c_int)?;
    // The address and socket belong to the caller only if it still waits for this answer.
    // SAFETY: the kernel reads one u64.
    if unsafe {
        libc::ioctl(
            listener,
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const call.id,
        )
    } != 0
    {
        return Ok(BindAnswer::Continue);
    }
    replace_host_with_loopback(&mut address, is_v6_only(&socket));
    Ok(BindAnswer::Completed(bind_socket(
        &socket,
        &address[..length],
    )))
}

/// Returns whether other machines can reach this internet address.
fn is_reachable_remotely(address: &[u8]) -> bool {
    match address_family(address) {
        libc::AF_INET if address.len() >= 8 => address[4] != 127,
        libc::AF_INET6 if address.len() >= 24 => {
            let mut host = [0; 16];
            host.copy_from_slice(&address[8..24]);
            let host = std::net::Ipv6Addr::from(host);
            !(host.is_loopback() || host.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()))
        }
        _ => false,
    }
}

/// Replaces the host of an address that [`is_reachable_remotely`] with loopback. A dual-stack socket
/// gets the loopback address of IPv4, because clients use `127.0.0.1`.
fn replace_host_with_loopback(address: &mut [u8; ADDRESS_BYTES], only_v6: bool) {
    if address_family(address) == libc::AF_INET {
        address[4..8].copy_from_slice(&[127, 0, 0, 1]);
        return;
    }
    let host = if only_v6 {
        std::net::Ipv6Addr::LOCALHOST
    } else {
        std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped()
    };
    address[8..24].copy_from_slice(&host.octets());
}

fn address_family(address: &[u8]) -> libc::c_int {
    match address {
        [first, second, ..] => libc::c_int::from(u16::from_ne_bytes([*first, *second])),
        _ => libc::AF_UNSPEC,
    }
}

/// Duplicates the caller's socket into this process.
fn borrow_socket(caller: libc::pid_t, socket: libc::c_int) -> io::Result<OwnedFd> {
    let owned = |descriptor: libc::c_long| {
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created it for this process.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
    };
    let process = process_of_thread(caller);
    // SAFETY: plain system calls.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), socket, 0) })
}

/// Returns the process of a thread, because `pidfd_open` accepts only processes.
fn process_of_thread(thread: libc::pid_t) -> libc::pid_t {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
        .unwrap_or(thread)
}

/// Returns whether the socket accepts IPv6 only.
fn is_v6_only(socket: &OwnedFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `value`. For an IPv4 socket it fails.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_V6ONLY,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    answer == 0 && value != 0
}

/// Binds the socket. Returns the error number, or 0.
fn bind_socket(socket: &OwnedFd, address: &[u8]) -> libc::c_int {
    let fd = socket.as_raw_fd();
    let length = address.len() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `address`.
    if unsafe { libc::bind(fd, address.as_ptr().cast(), length) } == 0 {
        return 0;
    }
    let error = io::Error::last_os_error();
    // A signal may have interrupted the caller during its bind and made it call again; then the
    // socket is already bound. This can be recognised only if the caller requested a fixed port.
    let port = &address[2..4];
    if error.raw_os_error() == Some(libc::EINVAL)
        && port != [0, 0]
        && bound_port(socket)
            .as_ref()
            .is_some_and(|bound| bound == port)
    {
        return 0;
    }
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Returns the socket's port in network byte order, as addresses of both versions contain it.
fn bound_port(socket: &OwnedFd) -> Option<[u8; 2]> {
    let mut address = [0u8; ADDRESS_BYTES];
    let mut length = ADDRESS_BYTES as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `address`.
    let answer =
        unsafe { libc::getsockname(socket.as_raw_fd(), address.as_mut_ptr().cast(), &mut length) };
    (answer == 0 && !is_reachable_remotely(&address)).then_some([address[2], address[3]])
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    fn v4_address(host: [u8; 4]) -> [u8; ADDRESS_BYTES] {
        let mut address = [0; ADDRESS_BYTES];
        address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&80u16.to_be_bytes());
        address[4..8].copy_from_slice(&host);
        address
    }

    fn v6_address(host: &str) -> [u8; ADDRESS_BYTES] {
        let host: std::net::Ipv6Addr = host.parse().unwrap();
        let mut address = [0; ADDRESS_BYTES];
        address[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&80u16.to_be_bytes());
        address[8..24].copy_from_slice(&host.octets());
        address
    }

    #[test]
    fn only_remote_addresses_change() {
        for here in [
            v4_address([127, 0, 0, 1]),
            v4_address([127, 9, 9, 9]),
            v6_address("::1"),
            v6_address("::ffff:127.0.0.1"),
        ] {
            assert!(!is_reachable_remotely(&here));
        }
        for mut elsewhere in [
            v4_address([0; 4]),
            v4_address([10, 0, 0, 7]),
            v6_address("::"),
            v6_address("fe80::1"),
            v6_address("::ffff:10.0.0.7"),
        ] {
            for only_v6 in [false, true] {
                assert!(is_reachable_remotely(&elsewhere));
                let mut changed = elsewhere;
                replace_host_with_loopback(&mut changed, only_v6);
                assert!(!is_reachable_remotely(&changed));
                assert_eq!(
                    changed[..4],
                    elsewhere[..4],
                    "family and port do not change"
                );
            }
            elsewhere[0] = libc::AF_UNIX as u8;
            assert!(!is_reachable_remotely(&elsewhere));
        }
        assert!(!is_reachable_remotely(&[]));
    }

    /// Python binds several kinds of sockets and prints their addresses.
    #[test]
    fn a_childs_sockets_are_on_loopback() {
        const SCRIPT: &str = r"
import socket as s
for family, host in [(s.AF_INET, '0.0.0.0'), (s.AF_INET, '127.0.0.1'), (s.AF_INET6, '::')]:
    for only_v6 in [0, 1]:
        try:
            a = s.socket(family, s.SOCK_STREAM)
            if family == s.AF_INET6: a.setsockopt(s.IPPROTO_IPV6, s.IPV6_V6ONLY, only_v6)
            a.bind((host, 0)); a.listen()
            print(a.getsockname()[0])
        except OSError as e: print(e.errno)
a, b = s.socket(), s.socket()
a.bind(('', 0)); a.listen()
try: b.bind(('', a.getsockname()[1]))
except OSError as e: print('taken', e.errno)
";
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).stdout(Stdio::piped());
        let handshake = prepare_command(&mut command).unwrap();
        let Ok(mut child) = command.spawn() else {
            eprintln!("skipped: no python3 here");
            return;
        };
        let listener = match receive_listener(&handshake.from_child) {
            Ok(listener) => listener,
            Err(error) => {
                eprintln!("skipped: no seccomp user notification here ({error})");
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
        };
        let thread = std::thread::spawn(move || serve_notifications(&listener, "python"));
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(child.wait().unwrap().success());
        thread.join().unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[..4], ["127.0.0.1"; 4]);
        let no_v6 = libc::EAFNOSUPPORT.to_string();
        if lines[4] != no_v6 && lines[5] != libc::EADDRNOTAVAIL.to_string() {
            assert_eq!(lines[4..6], ["::ffff:127.0.0.1", "::1"]);
        }
        assert_eq!(lines[6], format!("taken {}", libc::EADDRINUSE));
    }
}
