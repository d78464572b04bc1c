#include "coordinator/request_state.h"

#include "common/planted.h"

bool request_is_final(UploadState state)
{
    switch (state) {
    case UPLOAD_COMPLETED:
    case UPLOAD_FAILED:
    case UPLOAD_REJECTED:
    case UPLOAD_CANCELLED:
    case UPLOAD_EXPIRED:
        return true;
    case UPLOAD_QUEUED:
    case UPLOAD_ACCEPTED:
    case UPLOAD_RUNNING:
    case UPLOAD_DONE:
        break;
    }
    return false;
}

bool request_must_last(UploadState state, RequestEvent event)
{
    return request_is_final(state) || event == REQUEST_EVENT_CANCEL_ASKED;
}

UploadState request_next(UploadState state, RequestEvent event)
{
    if (PLANTED("late-cancel") && event == REQUEST_EVENT_CANCELLED)
        return UPLOAD_CANCELLED;
    if (event == REQUEST_EVENT_RECEIPT)
        return UPLOAD_COMPLETED;
    if (request_is_final(state))
        return state;
    switch (event) {
    case REQUEST_EVENT_ACCEPTED:
        return state == UPLOAD_QUEUED ? UPLOAD_ACCEPTED : state; /* late or repeated: no way back */
    case REQUEST_EVENT_RUNNING:
    case REQUEST_EVENT_DONE:
        return UPLOAD_RUNNING;
    case REQUEST_EVENT_REJECTED:
        /* Rejected means never started. Of one that was seen running, an agent that lost its records says so;
         * the file may be there all the same, and a receipt must be able to say it. */
        return state == UPLOAD_RUNNING ? UPLOAD_FAILED : UPLOAD_REJECTED;
    case REQUEST_EVENT_FAILED:
        return UPLOAD_FAILED;
    case REQUEST_EVENT_CANCELLED:
        return UPLOAD_CANCELLED;
    case REQUEST_EVENT_EXPIRED:
        return UPLOAD_EXPIRED;
    case REQUEST_EVENT_CANCEL_ASKED:
    case REQUEST_EVENT_PUT_OFF:
    case REQUEST_EVENT_RECEIPT:
        break;
    }
    return state;
}

const char *request_event_name(RequestEvent event)
{
    static const char *const names[REQUEST_EVENT_COUNT] = {
        [REQUEST_EVENT_ACCEPTED] = "accepted",
        [REQUEST_EVENT_RUNNING] = "running",
        [REQUEST_EVENT_DONE] = "done",
        [REQUEST_EVENT_FAILED] = "failed",
        [REQUEST_EVENT_REJECTED] = "rejected",
        [REQUEST_EVENT_CANCELLED] = "cancelled",
        [REQUEST_EVENT_RECEIPT] = "receipt",
        [REQUEST_EVENT_EXPIRED] = "expired",
        [REQUEST_EVENT_CANCEL_ASKED] = "cancel asked",
        [REQUEST_EVENT_PUT_OFF] = "put off",
    };
    return names[event];
}

bool request_event_of_status(UploadState status, RequestEvent *ret_event)
{
    switch (status) {
    case UPLOAD_ACCEPTED:
        *ret_event = REQUEST_EVENT_ACCEPTED;
        return true;
    case UPLOAD_RUNNING:
        *ret_event = REQUEST_EVENT_RUNNING;
        return true;
    case UPLOAD_DONE:
        *ret_event = REQUEST_EVENT_DONE;
        return true;
    case UPLOAD_FAILED:
        *ret_event = REQUEST_EVENT_FAILED;
        return true;
    case UPLOAD_REJECTED:
        *ret_event = REQUEST_EVENT_REJECTED;
        return true;
    case UPLOAD_CANCELLED:
        *ret_event = REQUEST_EVENT_CANCELLED;
        return true;
    case UPLOAD_QUEUED:
    case UPLOAD_COMPLETED:
    case UPLOAD_EXPIRED:
        break;
    }
    return false;
}
