# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The library: asock(7), and a page for every exported call. Calls that belong together share one;
# the others are ".so" aliases of it.

dist_man_MANS += \
	man/asock.7 \
	man/asock_accept.3 \
	man/asock_await_hangup.3 \
	man/asock_begin_accept.3 \
	man/asock_begin_connect.3 \
	man/asock_begin_connect_host.3 \
	man/asock_begin_receive.3 \
	man/asock_begin_send.3 \
	man/asock_bind.3 \
	man/asock_buffer_data.3 \
	man/asock_buffer_new.3 \
	man/asock_buffer_ref.3 \
	man/asock_buffer_size.3 \
	man/asock_buffer_unref.3 \
	man/asock_cancel.3 \
	man/asock_close.3 \
	man/asock_connect.3 \
	man/asock_context_control.3 \
	man/asock_context_detach_fd.3 \
	man/asock_context_flush.3 \
	man/asock_context_get_error.3 \
	man/asock_context_get_error_text.3 \
	man/asock_context_get_events.3 \
	man/asock_context_get_fd.3 \
	man/asock_context_get_last_error.3 \
	man/asock_context_get_limit.3 \
	man/asock_context_get_timeout.3 \
	man/asock_context_inspect.3 \
	man/asock_context_new.3 \
	man/asock_context_new_fd.3 \
	man/asock_context_process.3 \
	man/asock_context_reconnect.3 \
	man/asock_context_ref.3 \
	man/asock_context_restrict.3 \
	man/asock_context_set_always_pending.3 \
	man/asock_context_set_grace_ms.3 \
	man/asock_context_set_limit.3 \
	man/asock_context_set_name.3 \
	man/asock_context_start_dispatcher.3 \
	man/asock_context_stop_dispatcher.3 \
	man/asock_context_unref.3 \
	man/asock_dial.3 \
	man/asock_end.3 \
	man/asock_end_accept.3 \
	man/asock_error_errno.3 \
	man/asock_error_name.3 \
	man/asock_get_option.3 \
	man/asock_listen.3 \
	man/asock_lookup.3 \
	man/asock_op_get_address.3 \
	man/asock_op_get_address_count.3 \
	man/asock_op_get_bytes.3 \
	man/asock_op_get_connect_error.3 \
	man/asock_op_get_directory.3 \
	man/asock_op_get_error.3 \
	man/asock_op_get_local.3 \
	man/asock_op_get_operation.3 \
	man/asock_op_get_remote.3 \
	man/asock_op_get_result_flags.3 \
	man/asock_op_get_slice.3 \
	man/asock_op_get_socket.3 \
	man/asock_op_get_text.3 \
	man/asock_op_get_userdata.3 \
	man/asock_op_get_value.3 \
	man/asock_op_is_pending.3 \
	man/asock_op_new.3 \
	man/asock_op_ref.3 \
	man/asock_op_set_buffer.3 \
	man/asock_op_set_buffers.3 \
	man/asock_op_set_callback.3 \
	man/asock_op_set_endpoint.3 \
	man/asock_op_set_flags.3 \
	man/asock_op_set_host.3 \
	man/asock_op_set_pool.3 \
	man/asock_op_set_timeout.3 \
	man/asock_op_take_slice.3 \
	man/asock_op_take_socket.3 \
	man/asock_op_unref.3 \
	man/asock_op_wait.3 \
	man/asock_pool_give.3 \
	man/asock_pool_new.3 \
	man/asock_pool_ref.3 \
	man/asock_pool_unref.3 \
	man/asock_receive.3 \
	man/asock_receive_multishot.3 \
	man/asock_receive_next.3 \
	man/asock_receive_some.3 \
	man/asock_resolve.3 \
	man/asock_send.3 \
	man/asock_send_all.3 \
	man/asock_set_option.3 \
	man/asock_share.3 \
	man/asock_shutdown.3 \
	man/asock_socket_get_context.3 \
	man/asock_socket_get_id.3 \
	man/asock_socket_get_local.3 \
	man/asock_socket_get_remote.3 \
	man/asock_socket_get_userdata.3 \
	man/asock_socket_new.3 \
	man/asock_socket_ref.3 \
	man/asock_socket_set_userdata.3 \
	man/asock_socket_unref.3 \
	man/asock_strerror.3 \
	man/asock_sync.3 \
	man/asock_version.3

# The tool.
dist_man_MANS += man/asockctl.1

# The daemon.
dist_man_MANS += \
	man/asockd.8 \
	man/asockd.conf.5 \
	man/asockd.policy.5
